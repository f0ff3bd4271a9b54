"""An option's candles with volatility and Greeks, from the stored candles of what it is priced on."""

import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts import clock
from accounts.clock import IST
from accounts.exceptions import NotSent
from accounts.models import KiteApp, TradingAccount
from greeks import black76, black_scholes
from market import calendar, candles
from market.backfill import backfill
from market.candle_coverage import Kind
from market.candle_greeks import OptionTerms, UnderlyingCloses, price_candles, strikes_needed
from market.candle_models import MinuteBar
from market.candles import Row
from market.models import Instrument, UnderlyingPricing
from market.pricing_terms import PricingTerms
from market.tests import chains
from market.tests.chains import FORWARD, RATE, SPOT, VOLATILITY
from market.tests.dumps import NEAR

NOW = datetime(2026, 11, 27, 11, 0, tzinfo=IST)
DAY = datetime(2026, 11, 25, tzinfo=IST)
FIRST = DAY.replace(hour=10)
DAY_ENDS, EXPIRES = DAY.replace(hour=15, minute=40), datetime(2026, 12, 1, 15, 40, tzinfo=IST)
MINUTES = 10
CALL = "NFO:NIFTY26120124500CE"
OF_THE_DAY = "from=2026-11-25&to=2026-11-25"

pytestmark = pytest.mark.django_db(transaction=True)


class Market:
    """A broker with ten minutes, and the day, of candles at prices that belong together."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.away: set[str] = set()
        self.spot_until = MINUTES
        """From this minute on the spot has no candle."""

    def __call__(self, instrument: Instrument, start: datetime, end: datetime, kind: Kind) -> Sequence[Row]:
        self.asked.append(instrument.tradingsymbol)
        if instrument.tradingsymbol in self.away:
            raise NotSent("no route to the broker")
        if not start <= FIRST <= end:
            return []
        if kind is not Kind.MINUTE:
            return [self._candle(instrument, DAY, DAY_ENDS)]
        times = [FIRST + timedelta(minutes=n) for n in range(MINUTES)]
        if instrument.instrument_type == "EQ":
            times = times[: self.spot_until]
        return [self._candle(instrument, at, at + timedelta(minutes=1)) for at in times]

    def _candle(self, instrument: Instrument, at: datetime, ends: datetime) -> Row:
        if instrument.is_option:
            years = years_to_expiry(ends)
            is_call = instrument.instrument_type == "CE"
            price = float(black76.price(FORWARD, float(instrument.strike), years, RATE, VOLATILITY, is_call))
        else:
            price = {"EQ": SPOT, "FUT": FORWARD + 5}[instrument.instrument_type]
        return {"date": at, "open": price, "high": price, "low": price, "close": price, "volume": 75, "oi": 5}


def years_to_expiry(at: datetime) -> float:
    return (EXPIRES - at).total_seconds() / (365 * 86_400)


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> Market:
    fake = Market()
    monkeypatch.setattr(candles, "ask_broker", fake)
    return fake


@pytest.fixture
def listed(transactional_db: None, async_client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> AsyncClient:
    monkeypatch.setattr(clock, "now", lambda: NOW.astimezone(UTC))
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    TradingAccount.objects.create(kite_user_id="AB1234", label="Asha Rao", app=app, owner=owner)
    chains.list_contracts()
    async_client.force_login(owner)
    return async_client


@pytest.fixture
async def reader(listed: AsyncClient) -> AsyncIterator[AsyncClient]:
    yield listed
    await sync_to_async(connections.close_all)()


async def ask(reader: AsyncClient, query: str) -> dict[str, Any]:
    answer: Any = await reader.get(f"/api/v1/candles?instrument={CALL}&greeks=true&{query}")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = json.loads(b"".join([part async for part in answer.streaming_content]))
    return found


def rows_of(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(found["columns"], row, strict=True)) for row in found["candles"]]


def store_the_chain(strikes: Sequence[int]) -> None:
    options = Instrument.objects.filter(strike__in=strikes, expiry=NEAR)
    backfill(options, 3)


async def test_an_option_is_enriched_from_what_its_underlying_was_worth(reader: AsyncClient, broker: Market) -> None:
    """Nothing of the chain is stored, so there is no forward by parity: the future that expires with it stands in."""
    for _ in range(2):
        found = await ask(reader, OF_THE_DAY)
        rows = rows_of(found)
        assert len(rows) == MINUTES
        assert found["columns"][6:] == [
            *("implied_volatility", "delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point"),
            *("underlying_price", "underlying_age_seconds", "underlying_source", "greeks_reason"),
        ]
    assert sorted(broker.asked) == ["NIFTY 50", "NIFTY26120124500CE", "NIFTY26DECFUT"]  # each of them once
    assert {row["underlying_source"] for row in rows} == {"future"}
    assert {row["underlying_price"] for row in rows} == {FORWARD + 5}
    years = years_to_expiry(FIRST + timedelta(minutes=1))
    greeks = black76.greeks(FORWARD + 5, 24_500.0, years, RATE, rows[0]["implied_volatility"], True)
    assert greeks.price == pytest.approx(rows[0]["close"], abs=1e-3)
    assert (rows[0]["delta"], rows[0]["theta_per_day"]) == pytest.approx(
        (float(greeks.delta), float(greeks.theta_per_day)), abs=1e-3
    )
    assert found["greeks"] | {"expires_at": None} == {
        "underlying_source": "parity-forward",
        "rate": 0.1,
        "dividend_yield": 0.0,
        "expires_at": None,
        "spot": "NSE:NIFTY 50",
        "future": "NFO:NIFTY26DECFUT",
        "missing": [],
    }


async def test_where_the_chain_is_stored_the_forward_comes_from_parity(reader: AsyncClient, broker: Market) -> None:
    await sync_to_async(store_the_chain)([24_400, 24_450, 24_500, 24_550, 24_600])
    rows = rows_of(await ask(reader, OF_THE_DAY))
    assert {row["underlying_source"] for row in rows} == {"parity-forward"}
    assert [row["underlying_price"] for row in rows] == pytest.approx([FORWARD] * MINUTES, abs=1e-3)
    assert [row["implied_volatility"] for row in rows] == pytest.approx([VOLATILITY] * MINUTES, abs=1e-5)
    assert {row["greeks_reason"] for row in rows} == {None}


@pytest.mark.parametrize("source", ["future", "spot"])
async def test_what_it_is_priced_on_can_be_chosen(reader: AsyncClient, broker: Market, source: str) -> None:
    await sync_to_async(store_the_chain)([24_400, 24_500, 24_600])
    found = await ask(reader, f"{OF_THE_DAY}&greeks_from={source}")
    assert found["greeks"]["underlying_source"] == source
    assert {row["underlying_source"] for row in rows_of(found)} == {source}


async def test_each_underlying_is_priced_on_its_own_terms(reader: AsyncClient, broker: Market) -> None:
    own = {"rate": "0.065", "dividend_yield": "0.012", "underlying_source": "spot"}
    await sync_to_async(UnderlyingPricing.objects.create)(underlying="NIFTY", **own)
    found = await ask(reader, OF_THE_DAY)
    assert (found["greeks"]["rate"], found["greeks"]["dividend_yield"]) == (0.065, 0.012)
    row = rows_of(found)[0]
    years = years_to_expiry(FIRST + timedelta(minutes=1))
    solved = black_scholes.implied_volatility(row["close"], SPOT, 24_500.0, years, 0.065, True, 0.012)
    assert row["underlying_source"] == "spot"
    assert row["implied_volatility"] == pytest.approx(float(solved.volatility), abs=1e-6)


async def test_a_longer_candle_has_the_greeks_of_its_last_minute(reader: AsyncClient, broker: Market) -> None:
    minutes = rows_of(await ask(reader, OF_THE_DAY))
    longer = rows_of(await ask(reader, f"{OF_THE_DAY}&interval=5minute"))
    assert len(longer) == 2
    greeks = [name for name in minutes[0] if name not in ("time", "open", "high", "low", "close", "volume")]
    assert [[row[name] for name in greeks] for row in longer] == [
        [minutes[last][name] for name in greeks] for last in (4, 9)
    ]


async def test_a_days_greeks_are_those_of_its_close(reader: AsyncClient, broker: Market) -> None:
    [row] = rows_of(await ask(reader, f"{OF_THE_DAY}&interval=day&greeks_from=future"))
    years = years_to_expiry(DAY_ENDS)
    solved = black76.implied_volatility(row["close"], FORWARD + 5, 24_500.0, years, RATE, True)
    assert row["implied_volatility"] == pytest.approx(float(solved.volatility), abs=1e-6)


async def test_a_spot_that_rests_stands_with_its_age(reader: AsyncClient, broker: Market) -> None:
    broker.spot_until = 7
    rows = rows_of(await ask(reader, f"{OF_THE_DAY}&greeks_from=spot"))
    assert [row["underlying_age_seconds"] for row in rows] == [0.0] * 7 + [60.0, 120.0, 180.0]
    assert {row["underlying_price"] for row in rows} == {SPOT}


async def test_where_nothing_is_known_of_the_underlying_that_is_what_it_says(
    reader: AsyncClient, broker: Market
) -> None:
    broker.away = {"NIFTY 50", "NIFTY26DECFUT"}
    found = await ask(reader, OF_THE_DAY)
    assert [(one["instrument"], one["reason"]) for one in found["greeks"]["missing"]] == [
        ("NSE:NIFTY 50", "no route to the broker"),
        ("NFO:NIFTY26DECFUT", "no route to the broker"),
    ]
    assert len(found["candles"]) == MINUTES
    for row in rows_of(found):
        assert row["greeks_reason"] == "no_underlying"
        assert {row[name] for name in ("implied_volatility", "delta", "underlying_price", "underlying_source")} == {
            None
        }


async def test_without_a_spot_and_a_future_parity_alone_will_do(reader: AsyncClient, broker: Market) -> None:
    """As with commodities, whose options stand on no spot."""
    broker.away = {"NIFTY 50", "NIFTY26DECFUT"}
    await sync_to_async(store_the_chain)([24_400, 24_500, 24_600])
    rows = rows_of(await ask(reader, OF_THE_DAY))
    assert [row["underlying_price"] for row in rows] == pytest.approx([FORWARD] * MINUTES, abs=1e-3)
    assert {row["underlying_source"] for row in rows} == {"parity-forward"}


async def test_an_expired_contract_is_priced_on_the_future_that_expired_with_it(
    reader: AsyncClient, broker: Market
) -> None:
    await Instrument.objects.filter(expiry=NEAR).aupdate(is_active=False)
    found = await ask(reader, OF_THE_DAY)
    assert found["greeks"]["future"] == "NFO:NIFTY26DECFUT"
    assert {row["underlying_source"] for row in rows_of(found)} == {"future"}


async def test_without_hours_there_is_no_expiry_and_there_are_no_greeks(
    reader: AsyncClient, broker: Market, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calendar, "_kept", (float("inf"), calendar.Calendar([])))
    found = await ask(reader, OF_THE_DAY)
    assert found["greeks"]["expires_at"] is None
    assert {(row["implied_volatility"], row["greeks_reason"]) for row in rows_of(found)} == {(None, "bad_input")}


async def test_a_range_without_a_candle_has_no_greeks_either(reader: AsyncClient, broker: Market) -> None:
    found = await ask(reader, "from=2026-11-22&to=2026-11-22")
    assert found["candles"] == []


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("instrument=NSE:INFY&from=2026-11-25&greeks=true", "greeks", "NSE:INFY is none"),
        ("instrument=NFO:NIFTY26DECFUT&from=2026-11-25&greeks=true", "greeks", "NIFTY26DECFUT is none (FUT)"),
        (f"instrument={CALL}&from=2026-11-25&greeks_from=spot", "greeks_from", "only goes with"),
        (f"instrument={CALL}&from=2026-11-25&greeks=true&greeks_from=moon", "greeks_from", "moon"),
    ],
)
async def test_greeks_of_what_is_no_option_are_refused_by_name(
    reader: AsyncClient, broker: Market, query: str, field: str, says: str
) -> None:
    answer = await reader.get(f"/api/v1/candles?{query}")
    assert answer.status_code == 400
    assert says in str(answer.json()["error"]["details"][field])
    assert broker.asked == []
    assert not await MinuteBar.objects.aexists()


@settings(deadline=None, max_examples=30)
@given(
    spots=st.lists(st.floats(20_000, 30_000), min_size=1, max_size=4),
    step=st.sampled_from([50.0, 100.0, 250.0]),
    missing=st.frozensets(st.integers(0, 400), max_size=300),
)
def test_strikes_that_are_not_read_have_no_say(spots: list[float], step: float, missing: frozenset[int]) -> None:
    """The forward of the strikes that are needed is the forward of them all."""
    strike = np.arange(15_000.0, 35_000.0, step)
    count, minutes = len(strike), len(spots)
    at, spot = np.full(minutes, NOW.timestamp()), np.array(spots)
    forward = spot[:, np.newaxis] * 1.001
    is_call, years = np.tile([[True], [False]], (1, count)), 0.05
    prices = np.stack([black76.price(one, strike, years, RATE, 0.2, is_call) for one in forward])
    prices[:, :, [place for place in missing if place < count]] = np.nan
    nothing = np.full(minutes, np.nan)

    def priced(rows: slice) -> Any:
        closes = UnderlyingCloses(spot, nothing, nothing, nothing, strike[rows], *prices[:, :, rows].swapaxes(0, 1))
        option = OptionTerms(25_000.0, True, NOW.timestamp() + years * 365 * 86_400)
        return price_candles(np.full(minutes, 700.0), at, option, closes, PricingTerms(rate=RATE))

    carried = spot * np.exp(RATE * years)
    some = priced(strikes_needed(strike, carried.min(), carried.max()))
    np.testing.assert_array_equal(some.underlying_price, priced(slice(None)).underlying_price)
    assert strikes_needed(strike, np.nan, 1.0) == strikes_needed(strike, np.inf, -np.inf) == slice(None)
