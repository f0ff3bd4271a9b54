"""Only the calendar knows when a market opens and closes: nobody else has such an hour in its code."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "dashboard", "greeks", "market", "orders", "streaming", "tickerproject")
# The hours of the exchanges, as they were and as they are. What else happens at such an hour may say so here.
HOURS = {(9, 0), (9, 15), (15, 15), (15, 30), (15, 40), (16, 0), (17, 0), (19, 30), (21, 0), (23, 30), (23, 55)}
WRITTEN = re.compile(r"\b(?:0?9:(?:00|15)|15:(?:15|30|40)|16:00|17:00|19:30|21:00|23:(?:30|55))\b")
SECONDS = {(hour * 60 + minute) * 60 for hour, minute in HOURS}


def modules() -> Iterator[Path]:
    for app in APPS:
        yield from (path for path in (ROOT / app).rglob("*.py") if not {"tests", "migrations"} & set(path.parts))


def scripts() -> Iterator[Path]:
    for app in APPS:
        yield from (ROOT / app).rglob("static/**/*.js")


def hours_in(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of every hour of an exchange in the code; docstrings explain and decide nothing."""
    explaining = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in explaining and WRITTEN.search(text):
                yield node.lineno, text
            case ast.Constant(value=int(seconds)) if type(seconds) is int and seconds in SECONDS:
                yield node.lineno, str(seconds)
            case ast.Call(
                func=ast.Name(id="time" | "time_of_day") | ast.Attribute(attr="time" | "replace"),
                args=[ast.Constant(value=int(hour)), ast.Constant(value=int(minute)), *_],
            ) if (hour, minute) in HOURS:
                yield node.lineno, f"time({hour}, {minute})"
            case ast.Call(keywords=keywords) if keywords:
                given = {one.arg: one.value.value for one in keywords if isinstance(one.value, ast.Constant)}
                if (given.get("hour"), given.get("minute", 0)) in HOURS:
                    yield node.lineno, f"hour={given['hour']!r}"


@pytest.mark.parametrize("code", ["x = '15:30'", "time(15, 30)", "at.replace(hour=15, minute=30)", "closes = 55_800"])
def test_an_hour_would_be_noticed(code: str) -> None:
    assert list(hours_in(ast.parse(code)))


def test_nobody_but_the_calendar_holds_an_opening_or_closing_time() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {text}"
        for path in modules()
        for line, text in hours_in(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


def test_the_pages_scripts_hold_none_either() -> None:
    def code_of(path: Path) -> str:
        return re.sub(r"/\*.*?\*/|(?<!:)//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)

    assert [str(path.relative_to(ROOT)) for path in scripts() if WRITTEN.search(code_of(path))] == []
