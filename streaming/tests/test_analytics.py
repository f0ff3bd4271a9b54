"""What is made of an expiry once a second, from the tick table to the line."""

import asyncio
import json
import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from django.db import OperationalError

from market.chain_history import ExpiryMinute, chain_minute
from market.chain_snapshots import chain_snapshot
from market.lines import as_json
from market.pricing_terms import PricingTerms, UnderlyingSource
from streaming.analytics import ChainAnalyser
from streaming.chain_minutes import keep_minutes
from streaming.contracts import CALL, PUT, Contract, Instruments
from streaming.pricing import Moment, PricingSettings
from streaming.snapshots import Stamp
from streaming.tests import chain, frames
from streaming.tests.chain import FORWARD, NOW, RATE, SPOT, YEARS, option_token, tick
from streaming.tests.ws_schemas import check
from streaming.ticks import TickTable

PART = "nifty:2026-12-01"
LINE = f"{PART}:analytics"
STAMP = Stamp(source="simulated", feed_state="live", epoch=7, seq=123, sent_at=1_795_839_300.5)


def at(monotonic: float) -> Moment:
    return Moment(market_time=NOW, monotonic=monotonic)


def analyser(source: UnderlyingSource = UnderlyingSource.PARITY_FORWARD) -> ChainAnalyser:
    table = chain.table()
    tick(table, *chain.packets())
    made = ChainAnalyser(table, PricingSettings(PricingTerms(rate=RATE, underlying_source=source)))
    made.changed([PART, "nifty:underlying"])
    return made


def analytics_of(made: ChainAnalyser) -> dict[str, Any]:
    line = json.loads(as_json(made.take(at(1_000.0), STAMP)[LINE].data))
    check("analytics", line)
    return dict(line["analytics"])


@pytest.mark.parametrize("source", [UnderlyingSource.PARITY_FORWARD, UnderlyingSource.SPOT])
def test_a_line_says_what_the_prices_were_made_with(source: UnderlyingSource) -> None:
    found = analytics_of(analyser(source))
    carried = SPOT * np.exp(RATE * YEARS)
    assert found["forward"] == pytest.approx(FORWARD if source != "spot" else carried, abs=0.1)
    assert found["spot"] == SPOT
    assert found["atm_strike"] == 25_000.0
    assert found["atm_implied_volatility"] == pytest.approx(0.14, abs=2e-3)
    straddle = sum(chain.paise_of(25_000.0, kind) for kind in (CALL, PUT)) / 100
    assert found["straddle"] == {"strike": 25_000.0, "price": pytest.approx(straddle)}
    assert found["put_call_ratio"]["oi"] == 1.0


def test_an_expiry_has_its_turn_once_a_second_while_it_changes() -> None:
    made = analyser()
    taken = []
    for tenth in range(25):
        taken += [tenth] * len(made.take(at(1_000.0 + tenth / 10), STAMP))
        made.changed([PART])
    assert taken == [0, 10, 20]
    assert made.take(at(1_003.5), STAMP) != {}
    assert made.take(at(1_009.0), STAMP) == {}  # nothing changed since


def test_many_expiries_do_not_hold_up_the_ticks() -> None:
    options = [contract for contract in chain.contracts() if contract.is_option]
    contracts = [
        Contract(one.instrument_token + 25_600 * n, f"X{n}{one.tradingsymbol}", f"X{n}", *_terms(one))
        for n in range(10)
        for one in options
    ]
    made = ChainAnalyser(TickTable(Instruments(contracts)), PricingSettings())
    made.changed([f"x{n}:2026-12-01" for n in range(10)])
    assert [len(made.take(at(1_000.0 + tenth / 10), STAMP)) for tenth in range(4)] == [4, 4, 2, 0]


def _terms(one: Contract) -> tuple[Any, ...]:
    return one.instrument_type, one.expiry, one.strike, one.closes_at


def test_a_price_that_is_not_believed_makes_no_straddle() -> None:
    made = analyser()
    old = frames.full(option_token(25_000.0, CALL), 9_000, last_trade_time=NOW - 301, exchange_timestamp=NOW + 1)
    tick(made.table, old)
    assert analytics_of(made)["straddle"]["price"] is None


def test_a_chain_without_a_single_price_is_all_null() -> None:
    made = ChainAnalyser(chain.table(), PricingSettings())
    made.changed([PART])
    found = analytics_of(made)
    assert (found["forward"], found["atm_implied_volatility"], found["max_pain"]) == (None, None, None)


def test_what_is_no_longer_streamed_is_forgotten() -> None:
    made = analyser()
    made.take(at(1_000.0), STAMP)
    assert made.latest.keys() == {PART}
    made.table.replace_instruments(Instruments([]))
    made.follow()
    made.changed([PART])
    assert (made.latest, made.take(at(1_002.0), STAMP)) == ({}, {})


class Minutes:
    """A minute of market time in a tenth of a second, and what came of each."""

    def __init__(self, *, database_is_away: bool = False) -> None:
        self.kept: list[ExpiryMinute] = []
        self._away = database_is_away
        self._began = asyncio.get_running_loop().time()

    def market_time(self) -> float:
        return NOW + (asyncio.get_running_loop().time() - self._began) * 600

    def record(self, minutes: Sequence[ExpiryMinute]) -> None:
        if self._away:
            raise OperationalError("no connection")
        self.kept += minutes


async def keep(made: ChainAnalyser, minutes: Minutes, seconds: float) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(seconds):
            await keep_minutes(
                made,
                source="simulated",
                market_time=minutes.market_time,
                record=minutes.record,
                look_seconds=0.01,
            )


async def test_each_minute_keeps_what_an_expiry_said_last() -> None:
    made = analyser()
    made.take(at(1_000.0), STAMP)
    minutes = Minutes()
    await keep(made, minutes, 0.35)
    (kept,) = minutes.kept  # in the minutes after it, nothing changed
    of_key = {name: getattr(kept, name) for name in ("underlying", "expiry", "at", "source")}
    row = chain_minute(**of_key, analytics=kept.analytics)
    assert (row.underlying, row.expiry, row.source) == ("NIFTY", chain.EXPIRY, "simulated")
    assert row.minute == datetime.fromtimestamp(NOW, UTC)
    assert row.atm_implied_volatility == pytest.approx(0.14, abs=2e-3)
    assert (row.call_oi, row.put_oi) == (4_500.0, 4_500.0)
    whole = chain_snapshot(**of_key, pricing=kept.pricing, columns=kept.columns)
    assert whole.strike == list(chain.STRIKES)
    paise = [chain.paise_of(strike, CALL) for strike in chain.STRIKES]
    assert whole.call_last_price == [price / 100 for price in paise]
    assert [whole.call_bid, whole.call_ask] == [[(price + by) / 100 for price in paise] for by in (-5, 5)]
    assert (whole.put_oi, whole.put_greeks_reason) == ([900] * 5, [0] * 5)
    assert whole.call_implied_volatility == pytest.approx([0.14] * 5, abs=2e-4)
    assert (whole.underlying_source, whole.spot) == ("parity-forward", SPOT)


async def test_a_database_that_is_away_costs_the_minute_and_nothing_else(caplog: pytest.LogCaptureFixture) -> None:
    made = analyser()
    made.take(at(1_000.0), STAMP)
    with caplog.at_level(logging.WARNING):
        await keep(made, Minutes(database_is_away=True), 0.3)
    assert "not kept: no connection" in caplog.text
