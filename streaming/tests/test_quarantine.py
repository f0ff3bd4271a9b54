"""The sample of ticks that were not believed, and what an operator reads of it."""

from collections.abc import Iterator
from io import StringIO

import numpy as np
import orjson
import pytest
import redis
from django.conf import settings
from django.core.management import CommandError, call_command

from market.names import RedisNames
from streaming.hours import Closed
from streaming.packets import decode_window
from streaming.quarantine import EVERY_SECONDS, KEPT, REPORT_SECONDS, Quarantine
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, NOW, tick
from streaming.ticks import TickTable
from streaming.validation import FLAGGED, Reason

STRANGER = frames.token(77)
ABSURD = 4_000_000


@pytest.fixture
def table() -> TickTable:
    made = chain.table()
    tick(made, *chain.packets())
    return made


def absurd(price: int = ABSURD) -> bytes:
    return frames.full(FUTURE_TOKEN, price, close=2_500_000, volume=7, exchange_timestamp=NOW + 1)


def test_a_tick_that_was_dropped_is_kept_as_it_came_beside_what_is_believed(table: TickTable) -> None:
    quarantine = Quarantine()
    quarantine.take(tick(table, absurd(), frames.ltp(STRANGER, 500)), table, at=NOW + 2.5, monotonic=0)
    by_reason = {kept["reason"]: kept for kept in quarantine.sample}
    assert by_reason == {
        "price_band": {
            "at": NOW + 2.5,
            "reason": "price_band",
            "dropped": True,
            "instrument_token": FUTURE_TOKEN,
            "tradingsymbol": "NIFTY26DECFUT",
            "last_price": 40_000.0,
            "close": 25_000.0,
            "exchange_timestamp": NOW + 1,
            "volume_traded": 7,
            "believed_price": 25_150.0,
        },
        "unknown_token": {
            "at": NOW + 2.5,
            "reason": "unknown_token",
            "dropped": True,
            "instrument_token": STRANGER,
            "tradingsymbol": None,
            "last_price": 5.0,
            "close": None,
            "exchange_timestamp": None,
            "volume_traded": None,
            "believed_price": None,
        },
    }
    assert orjson.loads(orjson.dumps(quarantine.sample)) == quarantine.sample


def test_a_flagged_tick_is_in_the_sample_too(table: TickTable) -> None:
    quarantine = Quarantine()
    option = chain.option_token(25_000.0, "CE")
    quarantine.take(tick(table, frames.full(option, 0, exchange_timestamp=NOW + 1)), table, at=NOW, monotonic=0)
    [kept] = quarantine.sample
    assert (kept["reason"], kept["dropped"]) == ("untraded", False)


def test_what_comes_while_its_market_is_closed_is_no_matter_of_belief(table: TickTable) -> None:
    quarantine = Quarantine()
    quarantine.report(0)
    everywhere = np.zeros(len(table))
    window = decode_window([frames.frame(absurd())])
    applied = table.apply(window, received_at=0, market_time=NOW, closed=Closed(everywhere, everywhere))
    assert applied.counts == {"market_closed": 1}
    quarantine.take(applied, table, at=NOW, monotonic=1)
    assert quarantine.sample == []
    assert quarantine.report(REPORT_SECONDS + 1) is None


def test_a_burst_fills_neither_memory_nor_the_sample(table: TickTable) -> None:
    quarantine = Quarantine()
    for window in range(1000):
        some = (absurd(ABSURD + window), frames.ltp(STRANGER, window + 1))
        quarantine.take(tick(table, *some), table, at=NOW + window / 10, monotonic=window / 10)
    kept = [one for one in quarantine.sample if one["reason"] == "price_band"]
    assert len(kept) == KEPT
    assert len(quarantine.sample) == 2 * KEPT
    assert [one["at"] for one in kept] == [NOW + 95 - EVERY_SECONDS * n for n in range(KEPT)]


def test_once_a_minute_a_line_says_what_was_dropped_and_like_what(table: TickTable) -> None:
    quarantine = Quarantine()
    assert quarantine.report(0) is None
    for _ in range(3):
        strangers = frames.ltp(STRANGER, 500), frames.ltp(STRANGER, 600)
        some = (absurd(), *strangers, frames.ltp(chain.option_token(25_000.0, "CE"), 0))
        quarantine.take(tick(table, *some), table, at=NOW, monotonic=1)
    assert quarantine.report(REPORT_SECONDS - 1) is None
    assert quarantine.report(REPORT_SECONDS) == (
        "9 ticks were not believed within a minute: "
        f"6 unknown_token (like {STRANGER} at 6), 3 price_band (like NIFTY26DECFUT at 40000)"
    )
    assert quarantine.report(2 * REPORT_SECONDS) is None
    assert quarantine.sample


def test_what_is_flagged_is_what_is_not_dropped(table: TickTable) -> None:
    assert {Reason.UNTRADED, Reason.CROSSED, Reason.NEGATIVE_PRICE} == FLAGGED


@pytest.fixture
def running_stream(valkey: "redis.Redis", table: TickTable) -> Iterator[None]:
    quarantine = Quarantine()
    quarantine.take(tick(table, absurd()), table, at=NOW + 0.25, monotonic=0)
    state = {"process": "stream", "counters": {"ticks": 812, "price_band": 1}, "rejected": quarantine.sample}
    name = RedisNames(settings.REDIS_PREFIX).state("stream")
    valkey.set(name, orjson.dumps(state), ex=10)
    yield
    valkey.delete(name)


@pytest.mark.usefixtures("running_stream")
def test_an_operator_reads_counts_and_sample_in_a_table() -> None:
    out = StringIO()
    call_command("rejected_ticks", stdout=out)
    first, headings, row = out.getvalue().splitlines()
    assert first == "stream: of 812 ticks: price_band 1"
    assert headings.split() == ["received", "what", "reason", "instrument", "price", "believed", "close", "its", "time"]
    what = ["dropped", "price_band", "NIFTY26DECFUT", "40000", "25150", "25000"]
    assert row.split() == ["28", "Nov", "09:45:00", *what, "28", "Nov", "09:45:01"]


def test_without_a_stream_the_command_says_so(valkey: "redis.Redis") -> None:
    with pytest.raises(CommandError, match="no stream process is running"):
        call_command("rejected_ticks")
