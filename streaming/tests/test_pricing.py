import numpy as np
import pytest

from greeks.parity import implied_forward
from market.pricing_rules import GreeksReason
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource
from streaming.contracts import CALL, PUT, UNKNOWN, Contract, Instruments
from streaming.pricing import (
    SOURCES,
    Moment,
    PartPricings,
    PricedOptions,
    PricingSettings,
    on_terms,
    price_options,
    price_parts,
)
from streaming.tests import chain, frames
from streaming.tests.chain import FORWARD, NOW, RATE, SPOT, STRIKES, YEARS, option_token, slot, tick
from streaming.ticks import TickTable

PART = "nifty:2026-12-01"
CALL_TOKEN = option_token(25_000.0, CALL)
SETTINGS = PricingSettings(PricingTerms(rate=RATE))


def ticked() -> TickTable:
    table = chain.table()
    tick(table, *chain.packets())
    return table


def on_these(
    table: TickTable, settings: PricingSettings, *, at: float = NOW, monotonic: float = 1_000.0
) -> PartPricings:
    """What the options of the one expiry are priced with."""
    parts = on_terms(table.instruments, [table.instruments.parts[PART]], settings)
    return price_parts(table, parts, Moment(at, monotonic))


def priced(table: TickTable, settings: PricingSettings = SETTINGS) -> PricedOptions:
    part = table.instruments.parts[PART]
    pricings = on_these(table, settings)
    return price_options(table, part.slots, np.zeros(len(part.slots), np.intp), pricings)


def reason_of(table: TickTable, token: int) -> GreeksReason:
    rows = table.instruments.parts[PART].slots.tolist()
    return GreeksReason(int(priced(table).reason[rows.index(slot(table, token))]))


def test_options_are_priced_on_the_forward_that_parity_implies() -> None:
    table = ticked()
    pricings = on_these(table, SETTINGS, monotonic=1_000.25)
    assert SOURCES[pricings.source[0]] == UnderlyingSource.PARITY_FORWARD
    assert pricings.underlying_price[0] == pytest.approx(FORWARD, abs=0.05)
    assert pricings.time_to_expiry[0] == YEARS
    assert pricings.underlying_age_seconds[0] == 0.25


def test_the_forward_agrees_with_the_engine_of_one_expiry() -> None:
    table = ticked()
    calls, puts = table.instruments.parts[PART].pairs.T
    prices = (table["bid"] + table["ask"]) / 2
    one = implied_forward(prices[calls], prices[puts], table.instruments.strike[calls], YEARS, RATE)
    pricings = on_these(table, SETTINGS)
    assert pricings.underlying_price[0] == pytest.approx(one.forward, abs=0.05)


def test_one_bad_quote_does_not_move_the_forward() -> None:
    table = ticked()
    wrong = frames.book(90_000, 90_010)
    tick(table, frames.full(CALL_TOKEN, 90_005, exchange_timestamp=NOW + 1, depth=wrong))
    pricings = on_these(table, SETTINGS)
    assert pricings.underlying_price[0] == pytest.approx(FORWARD, abs=0.1)


@pytest.mark.parametrize(
    ("wanted", "future_expires_too", "quotes", "used", "price"),
    [
        (UnderlyingSource.PARITY_FORWARD, True, False, UnderlyingSource.FUTURE, 25_150.0),
        (UnderlyingSource.PARITY_FORWARD, False, False, UnderlyingSource.SPOT, SPOT),
        (UnderlyingSource.SPOT, True, True, UnderlyingSource.SPOT, SPOT),
        (UnderlyingSource.FUTURE, True, True, UnderlyingSource.FUTURE, 25_150.0),
        (UnderlyingSource.FUTURE, False, True, UnderlyingSource.PARITY_FORWARD, FORWARD),
    ],
)
def test_without_the_wanted_source_the_next_one_is_used(
    wanted: UnderlyingSource, future_expires_too: bool, quotes: bool, used: UnderlyingSource, price: float
) -> None:
    future = Contract(chain.FUTURE_TOKEN, "FUT", "NIFTY", "FUT", chain.EXPIRY)
    others = [contract for contract in chain.contracts() if contract.instrument_type != "FUT"]
    table = TickTable(Instruments([*others, future] if future_expires_too else chain.contracts()))
    tick(table, *(chain.packets() if quotes else chain.underlying_packets()))
    settings = PricingSettings(terms_of_underlying={"NIFTY": PricingTerms(rate=RATE, underlying_source=wanted)})
    pricings = on_these(table, settings)
    assert SOURCES[pricings.source[0]] == used
    assert pricings.underlying_price[0] == pytest.approx(price, abs=0.05)
    assert pricings.on_spot[0] == (used is UnderlyingSource.SPOT)


def test_implied_volatility_is_what_the_prices_were_made_with() -> None:
    found = priced(ticked())
    assert (found.reason == GreeksReason.OK).all()
    assert found.implied_volatility == pytest.approx(np.full(10, 0.14), abs=2e-4)


def test_a_strike_has_one_implied_volatility_for_call_and_put() -> None:
    found = priced(ticked()).implied_volatility
    assert found[0::2] == pytest.approx(found[1::2], abs=1e-4)


def test_the_middle_of_a_good_book_stands_for_an_option_and_else_its_last_trade() -> None:
    table = ticked()
    price = chain.paise_of(25_000.0, CALL)
    one_sided = [(0, 0, 0)] * 5 + frames.book(price, price + 5)[5:]
    wide = frames.book(price // 3, price * 3)
    for second, depth in enumerate((one_sided, wide), start=1):
        time = NOW + second
        last = price + second
        tick(table, frames.full(CALL_TOKEN, last, last_trade_time=time, exchange_timestamp=time, depth=depth))
        rows = table.instruments.parts[PART].slots.tolist()
        assert priced(table).price[rows.index(slot(table, CALL_TOKEN))] == last / 100


def test_the_book_of_a_cheap_option_may_be_wide_in_proportion() -> None:
    table = ticked()
    tick(table, frames.full(CALL_TOKEN, 5, exchange_timestamp=NOW + 1, depth=frames.book(5, 15)))
    rows = table.instruments.parts[PART].slots.tolist()
    assert priced(table).price[rows.index(slot(table, CALL_TOKEN))] == pytest.approx(0.10)


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (frames.full(CALL_TOKEN, 0, exchange_timestamp=NOW + 1, depth=frames.book(100, 105)), GreeksReason.UNTRADED),
        (frames.full(CALL_TOKEN, 9_000, exchange_timestamp=NOW + 1, depth=frames.book(105, 100)), GreeksReason.CROSSED),
        (frames.full(CALL_TOKEN, 5, exchange_timestamp=NOW + 1), GreeksReason.BELOW_INTRINSIC),
        (frames.full(CALL_TOKEN, 9_000, last_trade_time=NOW - 301, exchange_timestamp=NOW + 1), GreeksReason.STALE),
    ],
)
def test_a_row_without_greeks_says_why(packet: bytes, reason: GreeksReason) -> None:
    table = ticked()
    tick(table, packet)
    assert reason_of(table, CALL_TOKEN) == reason
    assert reason_of(table, option_token(25_050.0, PUT)) == GreeksReason.OK


def test_a_row_that_never_ticked_and_a_part_without_underlying_have_no_greeks() -> None:
    table = chain.table()
    assert reason_of(table, CALL_TOKEN) == GreeksReason.NO_PRICE
    tick(table, chain.option_packet(25_000.0, CALL))
    assert reason_of(table, CALL_TOKEN) == GreeksReason.NO_UNDERLYING


def test_nothing_flagged_feeds_the_forward() -> None:
    table = ticked()
    for strike in STRIKES:
        crossed = frames.book(20_010, 20_000)
        tick(table, frames.full(option_token(strike, CALL), 20_000, exchange_timestamp=NOW + 1, depth=crossed))
    pricings = on_these(table, SETTINGS)
    assert SOURCES[pricings.source[0]] == UnderlyingSource.SPOT


def test_at_expiry_nothing_raises_and_no_greek_is_made_up() -> None:
    table = ticked()
    part = table.instruments.parts[PART]
    pricings = on_these(table, SETTINGS, at=chain.CLOSES_AT)
    found = price_options(table, part.slots, np.zeros(len(part.slots), np.intp), pricings)
    assert pricings.time_to_expiry[0] == 0
    assert np.isnan(found.implied_volatility).all()
    assert (found.reason != GreeksReason.OK).all()


def test_a_part_without_cash_and_future_is_priced_all_the_same() -> None:
    table = TickTable(Instruments(contract for contract in chain.contracts() if contract.is_option))
    tick(table, *(chain.option_packet(strike, kind) for strike in STRIKES for kind in (CALL, PUT)))
    assert table.instruments.parts[PART].spot == UNKNOWN
    assert (priced(table).reason == GreeksReason.OK).all()


def test_each_underlying_has_its_own_terms() -> None:
    table = ticked()
    own = PricingTerms(rate=0.065, dividend_yield=0.012, underlying_source=UnderlyingSource.SPOT)
    settings = PricingSettings(PricingTerms(rate=RATE), terms_of_underlying={"NIFTY": own})
    pricings = on_these(table, settings)
    assert (pricings.rate[0], pricings.dividend_yield[0]) == (0.065, 0.012)
    assert pricings.underlying_price[0] == SPOT


def test_an_underlying_may_be_priced_at_its_last_trades() -> None:
    table = ticked()
    last = chain.paise_of(25_000.0, CALL) + 300
    good = frames.book(last - 305, last - 295)
    tick(table, frames.full(CALL_TOKEN, last, last_trade_time=NOW, exchange_timestamp=NOW + 1, depth=good))
    row = table.instruments.parts[PART].slots.tolist().index(slot(table, CALL_TOKEN))
    at_middle = priced(table)
    assert (at_middle.price[row], at_middle.at_middle[row]) == ((last - 300) / 100, True)
    trades = PricingSettings(PricingTerms(rate=RATE, option_price=OptionPrice.LAST_PRICE))
    at_trade = priced(table, trades)
    assert (at_trade.price[row], at_trade.at_middle[row]) == (last / 100, False)
