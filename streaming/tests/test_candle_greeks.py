"""Greeks of history are the stream's, on the same prices: the live engine is given each minute's closes as ticks."""

from datetime import date
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greeks import black76
from market.candle_greeks import SOURCES as CANDLE_SOURCES
from market.candle_greeks import OptionTerms, PricedCandles, UnderlyingCloses, price_candles
from market.pricing_terms import PricingTerms, UnderlyingSource
from streaming.contracts import CALL, PUT, Contract, Instruments
from streaming.pricing import SOURCES, Moment, PricingSettings, on_terms, price_options, price_parts
from streaming.tests import chain, frames
from streaming.tests.chain import CLOSES_AT, NOW, RATE, STRIKES, option_token, slot, tick
from streaming.ticks import TickTable

PART = "nifty:2026-12-01"
FAR_AWAY = 2_000_000  # paise of spot: a forward of 25,000 is none then
PAIRS = [(strike, kind) for strike in STRIKES for kind in (CALL, PUT)]


class Minute(NamedTuple):
    """Prices in paise: 0 is a price that is none, and of spot and future None means that there was none at all."""

    options: tuple[int, ...]
    """As `PAIRS`."""
    spot: int | None
    future: int | None


def minute(forward: float, volatility: float, spot: int | None, future: int | None, untraded: frozenset[int]) -> Minute:
    fair = [
        black76.price(forward, strike, chain.YEARS, RATE, volatility, np.bool_(kind == CALL)) for strike, kind in PAIRS
    ]
    paise = [max(5, round(float(price) * 20) * 5) for price in fair]
    return Minute(tuple(0 if n in untraded else price for n, price in enumerate(paise)), spot, future)


minutes = st.builds(
    minute,
    forward=st.floats(24_700, 25_400),
    volatility=st.floats(0.05, 0.6),
    spot=st.one_of(st.sampled_from([None, 0, FAR_AWAY]), st.integers(2_480_000, 2_520_000)),
    future=st.one_of(st.sampled_from([None, 0]), st.integers(2_480_000, 2_520_000)),
    untraded=st.frozensets(st.integers(0, len(PAIRS) - 1), max_size=len(PAIRS)),
)
terms = st.builds(
    PricingTerms,
    rate=st.floats(0, 0.15),
    dividend_yield=st.floats(0, 0.05),
    underlying_source=st.sampled_from(UnderlyingSource),
)


def live(some: Minute, at: float, of: PricingTerms) -> dict[str, np.ndarray]:
    """What the stream makes of a minute's closes, option by option as `PAIRS`."""
    future = Contract(chain.FUTURE_TOKEN, "FUT", "NIFTY", "FUT", date(2026, 12, 1))
    table = TickTable(Instruments([*(one for one in chain.contracts() if one.instrument_type != "FUT"), future]))
    packets = []
    if some.spot is not None:
        packets.append(frames.index(chain.INDEX_TOKEN, some.spot, close=some.spot, exchange_timestamp=NOW))
    if some.future is not None:
        packets.append(frames.full(chain.FUTURE_TOKEN, some.future, close=some.future, exchange_timestamp=NOW))
    for (strike, kind), price in zip(PAIRS, some.options, strict=True):
        times = {"last_trade_time": NOW, "exchange_timestamp": NOW}
        book = frames.book(price, price)
        packets.append(frames.full(option_token(strike, kind), price, depth=book, **times))
    tick(table, *packets)
    parts = on_terms(table.instruments, [table.instruments.parts[PART]], PricingSettings(of))
    pricings = price_parts(table, parts, Moment(at, 1_000.0))
    slots = np.array([slot(table, option_token(*pair)) for pair in PAIRS], np.intp)
    found = price_options(table, slots, np.zeros(len(slots), np.intp), pricings)
    every = np.ones(len(PAIRS))
    return {
        "underlying_price": pricings.underlying_price[0] * every,
        "source": pricings.source[0] * every,
        "implied_volatility": found.implied_volatility,
        "reason": found.reason,
        **found.greeks._asdict(),
    }


def history(some: list[Minute], number: int, at: np.ndarray, of: PricingTerms) -> PricedCandles:
    """The candles of one option of `PAIRS`."""
    traded = np.array([one.options for one in some], np.float64) / 100
    spot = np.array([one.spot for one in some], np.float64) / 100  # None becomes nan
    future = np.array([one.future for one in some], np.float64) / 100
    fresh = np.zeros(len(some))
    closes = UnderlyingCloses(spot, fresh, future, fresh, np.array(STRIKES), traded[:, 0::2], traded[:, 1::2])
    strike, kind = PAIRS[number]
    return price_candles(traded[:, number], at, OptionTerms(strike, kind == CALL, CLOSES_AT), closes, of)


def test_the_sources_are_counted_alike() -> None:
    assert CANDLE_SOURCES == SOURCES


@settings(deadline=None, max_examples=40)
@given(st.lists(minutes, min_size=1, max_size=4), terms)
def test_the_greeks_of_history_are_the_live_engines_on_the_same_prices(some: list[Minute], of: PricingTerms) -> None:
    at = NOW + 60.0 * np.arange(len(some))
    expected = [live(one, moment, of) for one, moment in zip(some, at.tolist(), strict=True)]
    for number in range(len(PAIRS)):
        found = history(some, number, at, of)
        columns = {
            "underlying_price": found.underlying_price,
            "source": found.source,
            "implied_volatility": found.implied_volatility,
            "reason": found.reason,
            **found.greeks._asdict(),
        }
        for name, column in columns.items():
            streamed = np.array([one[name][number] for one in expected])
            np.testing.assert_allclose(column, streamed, rtol=1e-9, atol=1e-12, err_msg=f"{name} of {PAIRS[number]}")


@pytest.mark.parametrize("source", list(UnderlyingSource))
def test_each_source_is_compared_where_all_of_them_are_known(source: UnderlyingSource) -> None:
    """What the property above could miss: that every model and source really is taken, and finds a volatility."""
    whole = minute(25_020.0, 0.14, 2_500_000, 2_503_000, frozenset())
    of = PricingTerms(rate=RATE, underlying_source=source)
    found = history([whole], PAIRS.index((25_000.0, CALL)), np.array([float(NOW)]), of)
    streamed = live(whole, NOW, of)
    assert SOURCES[int(found.source[0])] == SOURCES[int(streamed["source"][0])] == source
    assert found.implied_volatility[0] == pytest.approx(streamed["implied_volatility"][PAIRS.index((25_000.0, CALL))])
    assert 0.1 < found.implied_volatility[0] < 0.2
