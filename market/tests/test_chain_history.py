"""The history of option chains: what is stored, and the volatility that is read out of it."""

import math
from datetime import UTC, date, datetime, timedelta

import pytest
from pytest_django import Settings

from accounts import clock
from market.chain_history import chain_minute, daily_atm_iv, forget_older_than, monthly_volatility, record
from market.models import ChainMinute
from market.tasks import forget_old_chain_minutes
from market.tests.test_chain_analytics import found

TODAY = date(2026, 11, 25)
CLOSE = datetime(2026, 11, 24, 9, 59, tzinfo=UTC)  # the last minute of the day before in India


def minute(at: datetime, *, days: int = 30, volatility: float | None = 0.15, source: str = "live") -> ChainMinute:
    return ChainMinute(
        underlying="NIFTY",
        expiry=(at + timedelta(days=days)).date(),
        minute=at,
        source=source,
        time_to_expiry=days / 365,
        atm_implied_volatility=volatility,
    )


@pytest.mark.django_db
def test_recording_twice_keeps_one_row_with_the_newer_values() -> None:
    assert record([minute(CLOSE)]) == 1
    assert record([minute(CLOSE, volatility=0.2), minute(CLOSE, volatility=0.3)]) == 1
    assert [row.atm_implied_volatility for row in ChainMinute.objects.all()] == [0.3]
    assert record([]) == 0


@pytest.mark.django_db
def test_sources_are_kept_apart() -> None:
    record([minute(CLOSE), minute(CLOSE, source="simulated", volatility=0.5)])
    assert [volatility for _, volatility in daily_atm_iv("NIFTY", "live", before=TODAY)] == pytest.approx([0.15])


@pytest.mark.django_db
def test_what_is_not_a_number_is_stored_as_not_known() -> None:
    record([minute(CLOSE, volatility=math.nan)])
    assert ChainMinute.objects.get().atm_implied_volatility is None


@pytest.mark.django_db
def test_a_row_holds_what_the_analytics_say() -> None:
    analytics = found()
    record(
        [chain_minute(underlying="NIFTY", expiry=TODAY, at=CLOSE.replace(second=7), source="live", analytics=analytics)]
    )
    row = ChainMinute.objects.get()
    assert (row.minute, row.forward, row.max_pain) == (CLOSE, analytics["forward"], analytics["max_pain"])
    assert (row.call_oi, row.straddle_price) == (analytics["totals"]["call_oi"], analytics["straddle"]["price"])
    assert row.net_gamma_exposure == analytics["gamma_exposure"]["net"]


@pytest.mark.django_db
def test_a_day_counts_with_its_last_minute_that_knew() -> None:
    early, late = CLOSE - timedelta(hours=3), CLOSE - timedelta(minutes=1)
    record([minute(early, volatility=0.11), minute(late, volatility=0.12), minute(CLOSE, volatility=None)])
    [(day, volatility)] = daily_atm_iv("NIFTY", "live", before=TODAY)
    assert day == date(2026, 11, 24)
    assert volatility == pytest.approx(0.12)


@pytest.mark.django_db
def test_days_come_oldest_first_without_today_and_no_more_than_asked_for() -> None:
    now = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)
    record(minute(now - timedelta(days=n), volatility=0.10 + n / 100) for n in range(6))
    days = daily_atm_iv("NIFTY", "live", 3, before=TODAY)
    assert [day.day for day, _ in days] == [22, 23, 24]
    assert [volatility for _, volatility in days] == pytest.approx([0.13, 0.12, 0.11])


@pytest.mark.parametrize(
    ("expiries", "expected"),
    [
        # Total variance by hand: 20 days of 0.2² and 40 of 0.1² are 0.8 and 0.4; at 30 days 0.6, √(0.6/30).
        ([(20 / 365, 0.2), (40 / 365, 0.1)], math.sqrt(0.02)),
        ([(40 / 365, 0.1), (20 / 365, 0.2)], math.sqrt(0.02)),
        ([(3 / 365, 0.5), (9 / 365, 0.2), (16 / 365, 0.3)], 0.3),  # all nearer: that nearest to thirty days
        ([(45 / 365, 0.2), (80 / 365, 0.3)], 0.2),
        ([(3 / 365, 0.5)], math.nan),  # a few days are no month
        ([(0.0, 0.5), (-1.0, 0.2)], math.nan),
        ([], math.nan),
    ],
)
def test_thirty_days_lie_between_expiries_in_total_variance(
    expiries: list[tuple[float, float]], expected: float
) -> None:
    assert monthly_volatility(expiries) == pytest.approx(expected, nan_ok=True)


@pytest.mark.django_db
def test_old_minutes_are_forgotten(settings: Settings) -> None:
    settings.CHAIN_HISTORY_DAYS = 10
    now = clock.now()
    record(minute(now - timedelta(days=age)) for age in (1, 9, 11, 300))
    forget_old_chain_minutes()
    assert ChainMinute.objects.count() == 2
    assert forget_older_than(10) == 0
