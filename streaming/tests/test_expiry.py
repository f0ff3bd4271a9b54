"""The second in which contracts end, and the morning after (F74)."""

from datetime import date, timedelta

import numpy as np
import pytest
from pytest_django import Settings

from greeks import black76
from greeks.expiry import years_between
from market.models import Instrument
from market.pricing_rules import GreeksReason
from market.pricing_terms import PricingTerms
from streaming import desired
from streaming.pricing import Moment, PricingSettings, on_terms, price_options, price_parts
from streaming.subscriptions import follow_chain, streamed_on
from streaming.tests import chain as quoted

PART = "nifty:2026-12-01"


@pytest.mark.parametrize("seconds", [-1.0, -0.001, 0.0, 0.001, 1.0, 86_400.0])
def test_f74_around_the_last_second_every_option_has_greeks_or_a_reason_and_nothing_in_between(seconds: float) -> None:
    table = quoted.table()
    quoted.tick(table, *quoted.packets())
    part = table.instruments.parts[PART]
    terms = on_terms(table.instruments, [part], PricingSettings(PricingTerms(rate=quoted.RATE)))
    pricings = price_parts(table, terms, Moment(quoted.CLOSES_AT + seconds, 1_000.0))
    found = price_options(table, part.slots, np.zeros(len(part.slots), np.intp), pricings)

    assert pricings.time_to_expiry[0] == pytest.approx(max(-seconds, 0.0) / (365 * 86_400), abs=1e-13)
    has_reason = found.reason != GreeksReason.OK
    assert (np.isnan(found.implied_volatility) <= has_reason).all()
    if seconds >= 0:
        assert has_reason.all()


def test_f74_at_the_close_an_option_is_worth_what_exercising_it_is_and_no_nan() -> None:
    years = years_between([99.0, 100.0, 101.0], 100.0)
    assert years.tolist() == [1 / (365 * 86_400), 0.0, 0.0]
    strikes = np.array([24_000.0, 25_000.0, 26_000.0])
    calls = black76.price(25_000.0, strikes, years[1], 0.1, 0.14, True)
    puts = black76.price(25_000.0, strikes, years[1], 0.1, 0.14, False)
    assert (calls.tolist(), puts.tolist()) == ([1_000.0, 0.0, 0.0], [0.0, 0.0, 1_000.0])


@pytest.mark.django_db
def test_f74_the_morning_after_what_has_expired_is_dropped_and_the_stream_looks_again(
    chain: dict[str, int], settings: Settings
) -> None:
    near = Instrument.objects.get(tradingsymbol="NIFTYNEAR25000CE").expiry
    assert near is not None
    follow_chain("NIFTY", expiries=2, today=near)

    def expiries(day: date) -> set[date | None]:
        return {one.expiry for one in streamed_on(day) if one.is_option}

    assert near in expiries(near)
    after = expiries(near + timedelta(days=1))
    assert near not in after
    assert after

    settings.MARKET_CLOCK = f"{near}T12:00:00+05:30"
    before = desired.mark()
    settings.MARKET_CLOCK = f"{near + timedelta(days=1)}T12:00:00+05:30"
    assert desired.mark() != before
