"""The payoff of what is held: figures that agree with the contracts' own arithmetic, and nothing guessed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from redis import Redis

from dashboard import payoff_chart
from dashboard.payoff import Payoff, payoffs_of
from dashboard.payoff_chart import chart_of, ticks
from dashboard.tests import order_day
from dashboard.tests.payoff_day import CALL, EXPIRY, PUT, prices
from dashboard.tests.test_positions import HELD
from market.models import Instrument
from orders.portfolio import PositionView

TODAY = date(2026, 11, 25)


def held(symbol: str, quantity: int, average: str, **changes: Any) -> PositionView:
    return replace(HELD, tradingsymbol=symbol, quantity=quantity, average_price=Decimal(average), **changes)


STRANGLE = [held(CALL, -65, "135.00"), held(PUT, -65, "58.00")]


@pytest.fixture
def market(db: None, valkey: "Redis") -> None:
    order_day.list_options(EXPIRY)
    prices(volatility=0.13)


def found(views: Sequence[PositionView]) -> list[Payoff]:
    instruments = Instrument.objects.by_symbols(f"{one.exchange}:{one.tradingsymbol}" for one in views)
    return payoffs_of(views, instruments, lambda _exchange, _expiry: 34 / 365, today=TODAY)


@pytest.mark.usefixtures("market")
def test_a_sold_strangle_makes_its_premium_and_breaks_even_that_far_beyond_its_strikes() -> None:
    (payoff,) = found(STRANGLE)
    assert (payoff.underlying, payoff.contracts, payoff.at) == ("NIFTY", 2, "expiry 29 Dec")
    assert payoff.most == "₹12,545"  # 65 × (135 + 58)
    assert payoff.least == "without limit"
    assert payoff.break_evens == "24,107 and 24,893"  # 24,300 and 24,700, each by the 193 that were received
    assert payoff.chance.endswith(" %")
    assert payoff.now is not None
    assert payoff.chart is not None
    assert payoff.chart.now
    assert len(payoff.chart.break_evens) == 2
    assert "at most ₹12,545 made, at most without limit lost" in payoff.words
    assert f"now {payoff.now.text} at 24,612.35" in payoff.words


@pytest.mark.usefixtures("market")
def test_contracts_of_one_expiry_end_at_one_moment_however_late_each_is_looked_at() -> None:
    """Else one of them would live on past the other, and be priced then: break-evens would be off by some rupees."""
    spread = [held(CALL, 65, "120.50"), held(PUT, -65, "120.50")]
    left = iter(34 / 365 - 1e-6 * number for number in range(9))
    instruments = Instrument.objects.by_symbols(f"NFO:{one.tradingsymbol}" for one in spread)
    (payoff,) = payoffs_of(spread, instruments, lambda _exchange, _expiry: next(left), today=TODAY)
    assert payoff.break_evens == "24,300 and 24,700"


@pytest.mark.usefixtures("market")
def test_old_prices_leave_what_holds_at_expiry_and_draw_no_now() -> None:
    (payoff,) = found([replace(one, price_is_fresh=False) for one in STRANGLE])
    assert (payoff.most, payoff.break_evens, payoff.chance) == ("₹12,545", "24,107 and 24,893", "–")
    assert payoff.now is None
    assert payoff.chart is not None
    assert (payoff.chart.now, payoff.chart.spot_x, payoff.chart.here) == ("", "", None)
    assert "not of now" in payoff.note


@pytest.mark.usefixtures("market")
def test_an_unknown_volatility_is_said_and_nothing_is_drawn() -> None:
    prices(volatility=None)
    (payoff,) = found(STRANGLE)
    assert payoff.missing == f"Not drawn: {CALL} has no implied volatility now."
    assert payoff.chart is None


@pytest.mark.usefixtures("market")
def test_without_a_price_of_the_underlying_nothing_is_drawn() -> None:
    prices(volatility=0.13, spot=None)
    (payoff,) = found(STRANGLE)
    assert (payoff.missing, payoff.chart) == ("NIFTY has no price now.", None)


@pytest.mark.usefixtures("market")
def test_what_is_closed_and_what_is_no_contract_has_no_payoff() -> None:
    assert found([held(CALL, 0, "0"), replace(HELD, exchange="NSE", tradingsymbol="INFY", quantity=10)]) == []


def test_the_picture_has_its_crossings_on_the_zero_line_and_its_ends_in_its_box() -> None:
    spots = np.array([90.0, 100.0, 110.0])
    chart = chart_of(spots, np.array([-10.0, 0.0, 10.0]), None, spot=105.0, here=4.0, break_evens=[100.0, 300.0])
    (crossing,) = chart.break_evens
    assert crossing.y == chart.zero_y
    xs = [float(point.split()[0]) for point in chart.at_expiry[1:].split("L")]
    assert (xs[0], xs[-1]) == (payoff_chart.LEFT, payoff_chart.WIDTH - payoff_chart.RIGHT)
    assert chart.here is not None
    assert float(chart.here.y) < float(chart.zero_y)


@pytest.mark.parametrize(
    ("lowest", "highest", "expected"),
    [(0, 10, [0, 2.5, 5, 7.5, 10]), (-21_000, 11_000, [-20_000, -10_000, 0, 10_000]), (5, 5, [])],
)
def test_levels_are_round(lowest: float, highest: float, expected: list[float]) -> None:
    assert ticks(lowest, highest, 4) == expected
