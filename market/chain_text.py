"""A chain as lines for a terminal: the answer of `chain_reading.read_chain` as people watch it."""

from collections.abc import Mapping
from typing import Any, Final

GREEN, RED, YELLOW, BOLD, PLAIN = (f"\x1b[{code}m" for code in (32, 31, 33, 1, 0))
_SIDE: Final = ("oi", "implied_volatility", "delta", "last_price")  # from the edge to the strike
_WIDTHS: Final = {"oi": 12, "implied_volatility": 8, "delta": 8, "last_price": 11}
_NAMES: Final = {"oi": "OI", "implied_volatility": "IV %", "delta": "delta", "last_price": "price"}
UNKNOWN: Final = "–"


def chain_text(answer: Mapping[str, Any], *, is_coloured: bool) -> str:
    """Where the prices come from and how old they are, then a line per strike: the call, the strike, the put.

    What is not known is a dash. With colours, a price is green above the last close and red below it, the strike
    nearest to the money is bold, and a chain whose prices are old has its first line in yellow.
    """

    def painted(text: str, colour: str) -> str:
        return f"{colour}{text}{PLAIN}" if is_coloured and colour else text

    def cells(side: Mapping[str, Any] | None) -> list[str]:
        return [painted(_cell(side, name), _colour(side, name)) for name in _SIDE]

    money = _money(answer)
    strikes = [row["strike"] for row in answer["strikes"]]
    nearest = min(strikes, key=lambda strike: abs(strike - money)) if strikes and money else None
    names = [_NAMES[name].rjust(_WIDTHS[name]) for name in _SIDE]
    lines = [
        painted(_headline(answer), YELLOW if answer["stale"] else ""),
        "".join([*names, "strike".rjust(11), *reversed(names)]),
    ]
    for row in answer["strikes"]:
        strike = painted(f"{row['strike']:11.2f}", BOLD if row["strike"] == nearest else "")
        lines.append("".join([*cells(row["call"]), strike, *reversed(cells(row["put"]))]))
    return "\n".join(lines)


def _headline(answer: Mapping[str, Any]) -> str:
    head = f"{answer['underlying']} {answer['expiry']}"
    if answer["reason"] is not None:
        return f"{head}: not streamed; `manage.py follow_chains {answer['underlying']}` subscribes it"
    age = UNKNOWN if answer["age_ms"] is None else f"{answer['age_ms'] / 1000:.1f} s"
    money = _money(answer)
    source = f"{answer['pricing']['underlying_source']} " if answer["pricing"] else ""
    price = UNKNOWN if money is None else f"{money:.2f}"
    stale = ", STALE" if answer["stale"] else ""
    return f"{head}: {source}{price}, prices {answer['source']}, feed {answer['feed_state']}, newest {age} old{stale}"


def _money(answer: Mapping[str, Any]) -> float | None:
    price: float | None = answer["pricing"]["underlying_price"] if answer["pricing"] else None
    return price


def _cell(side: Mapping[str, Any] | None, name: str) -> str:
    value = side[name] if side else None
    if value is None:
        text = UNKNOWN
    elif name == "oi":
        text = f"{value:,}"
    elif name == "implied_volatility":
        text = f"{value * 100:.2f}"
    else:
        text = f"{value:.2f}"
    return text.rjust(_WIDTHS[name])


def _colour(side: Mapping[str, Any] | None, name: str) -> str:
    change = side["change_percent"] if side and name == "last_price" else None
    return "" if not change else GREEN if change > 0 else RED
