"""What the chain page shows, decided from contracts and snapshots."""

from datetime import date, datetime, timedelta

import pytest

from accounts.clock import IST
from dashboard.chain import Chain, ChainPage, Contract, chain_page, expiries_of, market_session, nearest
from dashboard.tests.fakes import TODAY, FakeMarket
from market.latest import Snapshot, parse
from market.lines import encode

NIFTY = Chain("NIFTY", date(2026, 12, 1), "NFO")


@pytest.fixture
def market() -> FakeMarket:
    return FakeMarket(strikes_each_side=3)


def snapshot(part: dict[str, object]) -> Snapshot:
    return parse(encode(part))


def page(market: FakeMarket, **more: object) -> ChainPage:
    options = {"options": snapshot(market.options(kind="snapshot")), "underlying": snapshot(market.cash())} | more
    return chain_page(
        NIFTY,
        market.contracts,
        followed=[NIFTY],
        today=TODAY,
        now=0.0,
        source="live",
        **options,  # type: ignore[arg-type]
    )


def test_strikes_come_in_order_with_the_call_left_and_the_put_right(market: FakeMarket) -> None:
    rows = page(market).rows

    assert [row.strike for row in rows] == sorted(market.strikes)
    assert all(row.call.token is not None and row.put.token == row.call.token + 1 for row in rows)


def test_the_strike_nearest_to_the_spot_is_at_the_money(market: FakeMarket) -> None:
    market.spot = 24_612.35
    [at_the_money] = [row for row in page(market).rows if row.is_atm]

    assert at_the_money.label == "24,600"


def test_calls_below_and_puts_above_the_spot_are_in_the_money(market: FakeMarket) -> None:
    rows = page(market).rows

    assert all((row.in_the_money == "itm-c") == (row.strike < market.spot) for row in rows)
    assert [row.strike for row in rows if row.is_first_above_spot] == [
        min(k for k in market.strikes if k > market.spot)
    ]


@pytest.mark.parametrize("spot", [None, 0])
def test_no_spot_draws_no_money_and_no_spot_line(market: FakeMarket, spot: float | None) -> None:
    cash = market.cash()
    cash["columns"]["last_price"] = [spot, None]
    shown = page(market, underlying=snapshot(cash))

    assert shown.header.spot == "–"
    assert not any(row.is_atm or row.in_the_money or row.is_first_above_spot for row in shown.rows)


def test_a_missing_number_is_a_dash(market: FakeMarket) -> None:
    part = market.options(kind="snapshot", bid=None, implied_volatility=None, oi=None, change_percent=None)
    side = page(market, options=snapshot(part)).rows[0].call

    assert (side.bid, side.iv, side.oi, side.chg, side.chg_sign) == ("–", "–", "–", "–", None)


def test_a_strike_without_a_put_shows_dashes_there(market: FakeMarket) -> None:
    calls = [contract for contract in market.contracts if contract.is_call]
    rows = chain_page(NIFTY, calls, followed=[NIFTY], today=TODAY, now=0.0, source="live").rows

    assert all(row.put.token is None and row.put.ltp == "–" for row in rows)


def test_without_a_snapshot_there_are_strikes_and_no_age(market: FakeMarket) -> None:
    shown = page(market, options=None, underlying=None)

    assert len(shown.rows) == 7
    assert shown.age_ms is None
    assert not shown.has_prices


def test_the_age_is_that_of_the_newest_price_when_it_was_sent_and_the_time_since() -> None:
    line = Snapshot({"instrument_token": [1, 2, 3], "age_ms": [900, 150, None]}, "live", sent_at=100.0, market_time=0.0)

    assert line.age_ms(now=102.0) == pytest.approx(2150)
    assert line.age_ms(now=99.0) == pytest.approx(150)  # clocks that disagree make nothing younger


def test_the_snapshot_says_what_its_prices_are(market: FakeMarket) -> None:
    assert page(market).source == "simulated"
    assert page(market, options=None).source == "live"


def test_the_future_is_the_one_that_carries_the_expiry(market: FakeMarket) -> None:
    cash = market.cash()
    columns = cash["columns"]
    for name, value in {"instrument_type": "FUT", "expiry": "2026-11-26", "last_price": 1.0}.items():
        columns[name].append(value)
    for name, values in columns.items():
        if len(values) == 2:
            columns[name].append(None)

    assert page(market, underlying=snapshot(cash)).header.future == "24,656.95"


def test_the_expiries_of_the_underlying_come_in_order_with_their_days() -> None:
    others = [
        Chain("NIFTY", TODAY + timedelta(days=13), "NFO"),
        Chain("BANKNIFTY", TODAY, "NFO"),
        Chain("NIFTY", TODAY, "NFO"),
    ]
    shown = expiries_of(NIFTY, others, today=TODAY)

    assert [(expiry.label, expiry.note, expiry.is_current) for expiry in shown] == [
        ("25 Nov", "today", False),
        ("1 Dec", "6 d", True),
        ("8 Dec", "13 d", False),
    ]


def test_nothing_is_nearest_to_the_spot_in_an_empty_chain() -> None:
    assert nearest([], 100.0) is None
    assert nearest([50.0, 150.0], 100.0) == 0


def test_a_chain_with_five_digit_prices_has_wider_columns() -> None:
    contracts = [Contract(strike, True, int(strike), 20) for strike in (60_000.0, 84_000.0)]
    shown = chain_page(NIFTY, contracts, followed=[], today=TODAY, now=0.0, source="live")

    assert shown.wide_prices


@pytest.mark.parametrize(("hour", "is_open"), [(9, False), (10, True), (16, False)])
def test_a_session_is_open_from_its_opening_to_its_close(hour: int, is_open: bool) -> None:
    day = datetime(2026, 11, 25, tzinfo=IST)
    session = market_session(
        system_now=0.0,
        market_now=day.replace(hour=hour),
        speed=1.0,
        opens_at=day.replace(hour=9, minute=15),
        closes_at=day.replace(hour=15, minute=40),
    )

    assert session.is_open is is_open


@pytest.mark.parametrize(
    "blob", ["", "[]", "null", "{}", '{"columns":{"a":[1]},"source":"x","sent_at":1,"market_time":1}']
)
def test_what_is_not_a_parts_line_is_refused(blob: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(blob.encode())


def test_a_blob_is_read_with_what_changed_since_its_whole_line() -> None:
    def line(sent_at: float, **columns: list[int]) -> bytes:
        return encode({"columns": columns, "source": "simulated", "sent_at": sent_at, "market_time": sent_at})

    whole = line(10.0, instrument_token=[1, 2], last_price=[100, 200], age_ms=[0, 50])
    change = line(10.5, instrument_token=[2], last_price=[201], age_ms=[5])
    snapshot = parse(whole + change)
    assert [snapshot.rows[token]["last_price"] for token in (1, 2)] == [100, 201]
    assert [snapshot.rows[token]["age_ms"] for token in (1, 2)] == [500, 5]
    assert snapshot.sent_at == 10.5
