"""`manage.py watch`: the chain that the stream left in Redis, as a terminal shows it."""

import re
import time
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.test import Client

from market.tests import chains
from market.tests.dumps import NEAR


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def years(reader: Client) -> float:
    return chains.years_left()


def watch(*options: str, out: StringIO | None = None) -> str:
    out = out or StringIO()
    call_command("watch", "nifty", *options, stdout=out)
    return out.getvalue()


def numbers(line: str) -> list[str]:
    return line.replace(",", "").split()


def test_a_line_has_the_call_the_strike_and_the_put_as_the_stream_left_them(
    years: float, valkey: "redis.Redis"
) -> None:
    chains.publish(valkey, years)
    head, _, *rows = watch("--once", "--strikes", "2").strip().splitlines()
    assert head.startswith(f"NIFTY {NEAR}: ")
    assert re.search(r"prices simulated, feed live, newest \d+\.\d s old$", head)
    strikes = [float(numbers(row)[4]) for row in rows]
    assert strikes == [24_450.0, 24_500.0, 24_550.0, 24_600.0, 24_650.0]
    columns = chains.options_line(years)["columns"]
    for row, strike in zip(rows, strikes, strict=True):
        call, put = (columns["instrument_token"].index(chains.token_of(strike, kind)) for kind in ("CE", "PE"))
        values = numbers(row)
        found = [*values[:4], *reversed(values[5:])]
        for place, side in ((call, found[:4]), (put, found[4:])):
            assert side == [
                str(columns["oi"][place]),
                f"{columns['implied_volatility'][place] * 100:.2f}",
                f"{columns['delta'][place]:.2f}",
                f"{columns['last_price'][place]:.2f}",
            ]


def test_where_no_terminal_is_there_are_no_escapes_and_in_one_it_is_redrawn_in_place(
    years: float, valkey: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    chains.publish(valkey, years)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b" not in watch("--once")
    shown = watch("--once", out=Terminal())
    assert shown.startswith("\x1b[H\x1b[J")
    assert "\x1b[32m" in shown  # every price of this chain is above its close
    monkeypatch.setenv("NO_COLOR", "1")
    assert re.findall(r"\x1b\[\d+m", watch("--once", out=Terminal())) == []


def test_it_looks_again_until_ctrl_c_and_ends_quietly(
    years: float, valkey: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        chains.publish(valkey, years)  # it was not streamed when it was looked at first
        if len(pauses) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", sleep)
    shown = watch("--seconds", "0.5")
    assert pauses == [0.5, 0.5]
    assert shown.index("not streamed; `manage.py follow_chains NIFTY`") < shown.index("prices simulated")
    assert shown.count(f"NIFTY {NEAR}: ") == 2


def test_old_prices_are_called_stale(years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years, sent_at=time.time() - 3600)
    assert re.search(r"newest 36\d\d\.\d s old, STALE$", watch("--once").splitlines()[0])


def test_what_is_not_known_is_a_dash(years: float, valkey: "redis.Redis") -> None:
    *_, last = watch("--once").strip().splitlines()
    assert numbers(last)[:4] == numbers(last)[5:] == ["–"] * 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--expiry", "2026-12-02"), "no options on NIFTY that expire on 2026-12-02"),
        (("--expiry", "2026-02-30"), "--expiry takes a date"),
        (("--expiry", "soon"), "--expiry takes a date"),
        (("--strikes", "-1"), "--strikes must be"),
        (("--seconds", "nan"), "--seconds from"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_line(years: float, options: tuple[str, ...], says: str) -> None:
    with pytest.raises(CommandError, match=re.escape(says)):
        watch("--once", *options)


def test_an_underlying_without_options_is_said(db: Any) -> None:
    with pytest.raises(CommandError, match="no living option contracts"):
        watch("--once")


def test_without_redis_it_says_so_and_goes_on_looking(
    years: float, without_redis: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CommandError, match="no prices"):
        watch("--once")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)
    assert "Redis does not answer; trying again" in watch()
