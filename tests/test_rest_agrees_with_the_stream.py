"""The stream prices a chain from its tick table, REST from the stream's lines on other terms: the rules are one."""

import numpy as np
import pytest

from market.chain_pricing import Quotes, Underlying, price_chain
from market.latest import parse
from market.pricing_rules import REASON_NAMES
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource
from streaming import pricing
from streaming.snapshots import PartEncoder, Stamp
from streaming.tests import chain, frames
from streaming.tests.chain import EXPIRY, NOW, RATE, tick

OPTIONS, CASH = "nifty:2026-12-01", "nifty:underlying"
STAMP = Stamp(source="simulated", feed_state="live", epoch=1, seq=1, sent_at=float(NOW))
MOMENT = pricing.Moment(market_time=NOW, monotonic=1_000.120)
GREEKS = {"delta": 6, "gamma": 10, "theta_per_day": 4, "vega_per_point": 4, "rho_per_point": 4}


@pytest.mark.parametrize("source", list(UnderlyingSource))
@pytest.mark.parametrize("option_price", list(OptionPrice))
@pytest.mark.parametrize("broken", [False, True])
def test_on_the_streams_terms_a_chain_is_priced_as_the_stream_does(
    source: UnderlyingSource, option_price: OptionPrice, broken: bool
) -> None:
    table = chain.table()
    tick(table, *chain.packets())
    if broken:  # one not traded, one crossed, one with a trade long ago and no book
        tokens = [chain.option_token(strike, "CE") for strike in (24_900.0, 24_950.0, 25_100.0)]
        tick(
            table,
            frames.full(tokens[0], 0, exchange_timestamp=NOW + 1),
            frames.full(tokens[1], 9_000, exchange_timestamp=NOW + 1, depth=frames.book(9_100, 8_900)),
            frames.full(tokens[2], 9_000, exchange_timestamp=NOW + 1, last_trade_time=NOW - 301),
            at=1_000.1,
            market_time=NOW + 1,
        )
    terms = PricingTerms(rate=RATE, dividend_yield=0.01, underlying_source=source, option_price=option_price)
    lines = PartEncoder(table, pricing.PricingSettings(terms)).encode_snapshot([OPTIONS, CASH], MOMENT, STAMP)
    options, cash = parse(lines[OPTIONS].data), parse(lines[CASH].data)
    assert options.pricing is not None

    found = price_chain(
        Quotes.of(options),
        Underlying.of(cash, EXPIRY.isoformat(), options.market_time),
        options.pricing["time_to_expiry"],
        terms,
    )
    assert (found.model, found.underlying_source) == (options.pricing["model"], options.pricing["underlying_source"])
    assert found.underlying_price == pytest.approx(options.pricing["underlying_price"], rel=1e-12)
    assert found.underlying_age_ms == pytest.approx(options.pricing["underlying_age_ms"], abs=1)
    assert [REASON_NAMES[reason] for reason in found.reason] == options.columns["greeks_reason"]
    assert found.implied_volatility == pytest.approx(options.numbers("implied_volatility"), abs=1e-6, nan_ok=True)
    for name, decimals in GREEKS.items():
        assert getattr(found.greeks, name) == pytest.approx(options.numbers(name), abs=10**-decimals, nan_ok=True), name
    assert found.at_middle.tolist() == options.columns["priced_at_middle"]
    assert np.isnan(found.implied_volatility).any() == broken
