"""Whole chains in the database: what is stored of the stream's columns, and that it comes back as it was."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pytest_django import Settings

from accounts import clock
from greeks import black76
from market.chain_history import ExpiryMinute, keep
from market.chain_models import OF_AN_OPTION, ChainSnapshot
from market.chain_snapshots import chain_snapshot, record
from market.models import ChainMinute
from market.pricing_rules import GreeksReason
from market.tasks import forget_old_chain_minutes
from market.tests.test_chain_analytics import found

AT = datetime(2026, 11, 24, 9, 59, tzinfo=UTC)
EXPIRY = date(2026, 12, 1)
PRICING = {
    "underlying_source": "parity-forward",
    "underlying_price": 24_530.5,
    "spot": 24_500.0,
    "future": None,
    "time_to_expiry": 0.02,
    "rate": 0.1,
    "dividend_yield": 0.0,
}


def columns(strikes: NDArray[Any], **changes: Any) -> dict[str, NDArray[Any]]:
    """A call and a put for each strike, at prices on the tick that belong together."""
    strike, is_call = np.repeat(strikes, 2), np.tile([True, False], len(strikes))
    volatility = 0.13 + 0.4 * np.log(strike / 24_530) ** 2 + np.random.default_rng(1).normal(0, 0.002, len(strike))
    greeks = black76.greeks(24_530.5, strike, 0.02, 0.1, volatility, is_call)
    price = np.maximum(np.round(greeks.price / 0.05), 1) / 20
    whole = {
        **greeks._asdict(),
        "strike": strike,
        "is_call": is_call,
        "last_price": price,
        "bid": np.round(price - 0.05, 2),
        "ask": np.round(price + 0.05, 2),
        "oi": np.random.default_rng(2).lognormal(8, 2, len(strike)).astype(int) * 65.0,
        "implied_volatility": volatility,
        "greeks_reason": np.zeros(len(strike), np.int8),
    }
    return whole | changes


def snapshot(at: datetime = AT, strikes: int = 3, **changes: Any) -> ChainSnapshot:
    some = columns(24_450.0 + 50 * np.arange(strikes), **changes)
    return chain_snapshot(underlying="NIFTY", expiry=EXPIRY, at=at, source="live", pricing=PRICING, columns=some)


@pytest.mark.django_db
def test_a_chain_comes_back_as_it_was(django_assert_num_queries: Any) -> None:
    some = columns(np.array([24_450.0, 24_500.0]))
    with django_assert_num_queries(1):
        record([snapshot(AT.replace(second=7), 2)])
    row = ChainSnapshot.objects.get()
    assert (row.minute, row.strike, row.spot) == (AT, [24_450.0, 24_500.0], 24_500.0)
    assert (row.underlying_source, row.underlying_price) == ("parity-forward", 24_530.5)
    for name in OF_AN_OPTION:
        stored = np.stack([getattr(row, f"call_{name}"), getattr(row, f"put_{name}")], axis=1).ravel()
        exact = name in ("last_price", "bid", "ask", "oi", "greeks_reason")
        np.testing.assert_allclose(stored, some[name], rtol=0 if exact else 1e-6, atol=0 if exact else 5e-5)


TICKS = st.sampled_from([0.0025, 0.05, 0.1, 1.0])


@pytest.mark.django_db
@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 4_000_000), TICKS), min_size=1, max_size=10))
def test_every_tick_of_every_exchange_survives_exactly(drawn: list[tuple[int, float]]) -> None:
    prices = [round(count * tick, 4) for count, tick in drawn]
    some = columns(24_450.0 + 50 * np.arange(len(prices)), last_price=np.repeat(prices, 2))
    record([chain_snapshot(underlying="X", expiry=EXPIRY, at=AT, source="live", pricing=PRICING, columns=some)])
    row = ChainSnapshot.objects.get()
    assert row.call_last_price == row.put_last_price == prices


@pytest.mark.django_db
def test_what_is_not_known_is_null_and_a_price_of_zero_is_none() -> None:
    nan = np.nan
    some = columns(
        np.array([24_500.0]),
        last_price=np.array([0.0, 5.0]),
        bid=np.array([nan, 4.95]),
        oi=np.array([nan, 7.0]),
        implied_volatility=np.array([nan, 0.13]),
        gamma=np.array([np.inf, 0.001]),
        greeks_reason=np.array([GreeksReason.UNTRADED, GreeksReason.OK]),
    )
    pricing = PRICING | {"underlying_price": nan, "spot": None}
    record([chain_snapshot(underlying="X", expiry=EXPIRY, at=AT, source="live", pricing=pricing, columns=some)])
    row = ChainSnapshot.objects.get()
    assert [row.call_last_price, row.call_bid, row.call_oi, row.call_implied_volatility, row.call_gamma] == [[None]] * 5
    assert (row.put_last_price, row.put_oi, row.put_implied_volatility) == ([5.0], [7], [0.13])
    assert (row.call_greeks_reason, row.put_greeks_reason) == ([6], [0])
    assert (row.underlying_price, row.spot) == (None, None)


@pytest.mark.django_db
def test_a_strike_may_have_a_call_alone_and_rows_come_in_any_order() -> None:
    some = {name: values[[3, 0, 2]] for name, values in columns(np.array([24_500.0, 24_550.0])).items()}
    record([chain_snapshot(underlying="X", expiry=EXPIRY, at=AT, source="live", pricing=PRICING, columns=some)])
    row = ChainSnapshot.objects.get()
    assert row.strike == [24_500.0, 24_550.0]
    assert row.call_last_price == [some["last_price"][1], some["last_price"][2]]
    assert (row.put_last_price, row.put_greeks_reason) == ([None, some["last_price"][0]], [None, 0])


@pytest.mark.django_db
def test_a_minute_that_is_kept_twice_has_one_row_with_the_newer_values() -> None:
    assert record([snapshot()]) == 1
    assert record([snapshot(strikes=2), snapshot(strikes=4)]) == 1
    assert len(ChainSnapshot.objects.get().strike) == 4
    assert record([]) == 0


@pytest.mark.django_db
def test_arrays_of_different_lengths_are_refused_by_the_table() -> None:
    row = snapshot()
    row.put_bid = row.put_bid[:-1]
    with pytest.raises(IntegrityError, match="market_chain_snapshot_lengths"), transaction.atomic():
        record([row])


@pytest.mark.django_db
def test_what_a_chain_said_and_the_chain_are_kept_together() -> None:
    minute = ExpiryMinute("NIFTY", EXPIRY, AT, "live", found(), PRICING, columns(np.array([24_500.0])))
    for _ in range(2):
        keep([minute])
    said, whole = ChainMinute.objects.get(), ChainSnapshot.objects.get()
    assert (said.underlying, said.expiry, said.minute, said.source) == (
        *(whole.underlying, whole.expiry),
        *(whole.minute, whole.source),
    )


@pytest.mark.django_db
def test_old_chains_are_forgotten_by_their_own_setting(settings: Settings) -> None:
    settings.CHAIN_HISTORY_DAYS, settings.CHAIN_SNAPSHOT_DAYS = 100, 10
    now = clock.now()
    record(snapshot(now - timedelta(days=age)) for age in (1, 9, 11, 300))
    forget_old_chain_minutes()
    assert ChainSnapshot.objects.count() == 2


@pytest.mark.django_db
def test_a_row_of_a_hundred_strikes_takes_the_bytes_that_the_documentation_says() -> None:
    """docs/market.md: about 12 kB on disk. Half as much again would surprise whoever planned the disk by it."""
    rows = 100
    record(snapshot(AT + timedelta(minutes=n), strikes=100) for n in range(rows))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_total_relation_size('market_chainsnapshot')")
        (on_disk,) = cursor.fetchone()
    assert 6_000 < on_disk / rows < 18_000
