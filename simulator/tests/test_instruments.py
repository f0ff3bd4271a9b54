"""The dump: what is listed, under which names and numbers."""

from datetime import date

import pytest

from simulator.clock import SessionCalendar
from simulator.expiries import expiries
from simulator.instruments import Contract, Kind, Universe, build_universe
from simulator.underlyings import UNDERLYINGS

DAY = date(2026, 11, 18)


@pytest.fixture(scope="module")
def universe(calendar: SessionCalendar) -> Universe:
    return build_universe(DAY, calendar, 30_000)


def named(universe: Universe, symbol: str) -> Contract:
    return universe.contracts[universe.row_of_symbol[symbol]]


@pytest.mark.parametrize("rows", [30_000, 115_000])
def test_there_are_as_many_rows_as_asked_for_and_no_token_or_symbol_twice(calendar: SessionCalendar, rows: int) -> None:
    universe = build_universe(DAY, calendar, rows)
    assert rows * 0.98 <= len(universe.contracts) <= rows * 1.15
    assert len(universe.row_of_token) == len(universe.row_of_symbol) == len(universe.contracts)
    assert max(universe.row_of_token) < 2**31


def test_indices_have_the_tokens_everybody_knows(universe: Universe) -> None:
    known = {
        "NSE:NIFTY 50": 256265,
        "NSE:NIFTY BANK": 260105,
        "NSE:NIFTY FIN SERVICE": 257801,
        "BSE:SENSEX": 265,
        "NSE:INFY": 408065,
    }
    assert {symbol: named(universe, symbol).token for symbol in known} == known


def test_there_are_sixty_shares_with_futures_and_options(universe: Universe) -> None:
    for kind in (Kind.EQUITY, Kind.FUTURE, Kind.CALL, Kind.PUT):
        shares = {c.underlying for c in universe.contracts if c.kind is kind and not UNDERLYINGS[c.underlying].is_index}
        assert len(shares) == 60


def test_nse_contracts_end_on_tuesdays_and_on_the_day_before_a_holiday(calendar: SessionCalendar) -> None:
    found = expiries("NFO", DAY, calendar, weeklies=True, quarterlies=False)
    # Tuesday 24 November 2026 is Guru Nanak Jayanti.
    assert [(e.day.isoformat(), e.is_monthly) for e in found[:4]] == [
        ("2026-11-23", True),
        ("2026-12-01", False),
        ("2026-12-08", False),
        ("2026-12-15", False),
    ]
    assert [e.day.isoformat() for e in found if e.is_monthly] == ["2026-11-23", "2026-12-29", "2027-01-26"]


def test_bse_contracts_end_on_thursdays(calendar: SessionCalendar) -> None:
    found = expiries("BFO", DAY, calendar, weeklies=True, quarterlies=True)
    assert {e.nominal.weekday() for e in found} == {3}
    assert len([e for e in found if not e.is_monthly]) >= 3


def test_an_expired_contract_is_gone_the_next_day(calendar: SessionCalendar) -> None:
    last_day, next_day = (
        expiries("NFO", day, calendar, weeklies=True, quarterlies=False)[0].day
        for day in (date(2026, 12, 1), date(2026, 12, 2))
    )
    assert (last_day, next_day) == (date(2026, 12, 1), date(2026, 12, 8))


@pytest.mark.parametrize(
    ("symbol", "expiry", "strike"),
    [
        ("NFO:NIFTY26D0126000CE", "2026-12-01", 26_000),
        ("NFO:NIFTY26NOV26000PE", "2026-11-23", 26_000),  # a month's last expiry has the monthly form
        ("NFO:BANKNIFTY26DEC59000CE", "2026-12-29", 59_000),
        ("BFO:SENSEX26D0385000CE", "2026-12-03", 85_000),
        ("NFO:M&M26DECFUT", "2026-12-29", 0),
        ("NFO:BAJAJ-AUTO26DECFUT", "2026-12-29", 0),
        ("NFO:360ONE26DECFUT", "2026-12-29", 0),
        ("NFO:POWERGRID26DEC277.5CE", "2026-12-29", 277.5),
    ],
)
def test_symbols_follow_the_exchanges_grammar(universe: Universe, symbol: str, expiry: str, strike: float) -> None:
    contract = named(universe, symbol)
    assert (str(contract.expiry), contract.strike) == (expiry, strike)


def test_lots_and_ticks_are_those_of_2026(universe: Universe) -> None:
    terms = {
        symbol: (named(universe, symbol).lot_size, named(universe, symbol).tick)
        for symbol in ("NFO:NIFTY26DECFUT", "NFO:BANKNIFTY26DECFUT", "NFO:FINNIFTY26DECFUT", "BFO:SENSEX26DECFUT")
    }
    assert [lot for lot, _ in terms.values()] == [65, 30, 60, 20]
    assert named(universe, "NFO:NIFTY26D0126000CE").tick == 5
    assert [named(universe, f"NSE:{name}").tick for name in ("WIPRO", "SBIN", "TCS", "MARUTI")] == [1, 5, 10, 100]


def test_a_contract_keeps_its_token_in_every_dump(calendar: SessionCalendar, universe: Universe) -> None:
    tomorrow_and_larger = build_universe(date(2026, 11, 19), calendar, 60_000)
    shared = universe.row_of_symbol.keys() & tomorrow_and_larger.row_of_symbol.keys()
    assert len(shared) > 25_000
    assert all(named(universe, key).token == named(tomorrow_and_larger, key).token for key in shared)


def test_exchange_tokens_are_the_upper_bits_of_instrument_tokens(universe: Universe) -> None:
    assert all(c.token >> 8 == c.exchange_token for c in universe.contracts)
