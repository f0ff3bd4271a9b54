"""Legs together: what they are worth and how that moves."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import black76, black_scholes, positions
from greeks.payoff import payoff
from greeks.positions import Kind, Legs

RATE, YIELD, SPOT = 0.065, 0.012, 24_000.0
WEEK, MONTH = 7 / 365, 30 / 365


def mixed(**changes: Any) -> Legs:
    """A call and a put of a week, a call and a future of a month, and shares."""
    columns: dict[str, Any] = {
        "kind": [Kind.OPTION, Kind.OPTION, Kind.OPTION, Kind.FUTURE, Kind.SPOT],
        "strike": [24_000, 23_500, 24_500, math.nan, math.nan],
        "is_call": [True, False, True, False, False],
        "time_to_expiry": [WEEK, WEEK, MONTH, MONTH, math.nan],
        "implied_volatility": [0.12, 0.14, 0.13, math.nan, math.nan],
        "quantity": [75, -150, 75, -75, 10],
        "entry_price": [210.0, 80.0, 300.0, 24_120.0, 23_900.0],
        "forward": [24_030.0, 24_030.0, math.nan, 24_110.0, math.nan],
        "spot": SPOT,
    }
    return Legs(**(columns | changes))


def test_one_leg_is_the_model_times_its_quantity() -> None:
    legs = Legs(
        kind=Kind.OPTION, strike=24_500, is_call=True, time_to_expiry=WEEK, implied_volatility=0.13,
        quantity=-75, entry_price=60.0,
    )  # fmt: skip
    one = black_scholes.greeks(SPOT, 24_500, WEEK, RATE, 0.13, True, YIELD)
    found = positions.greeks(legs, SPOT, RATE, YIELD)
    assert found.value == pytest.approx([-75 * one.price], rel=1e-13)
    assert found.profit == pytest.approx([75 * (60.0 - one.price)], rel=1e-12)
    assert found.delta == pytest.approx([-75 * one.delta], rel=1e-13)
    assert found.delta_per_percent == pytest.approx(found.delta * 240, rel=1e-13)
    assert found.gamma_per_percent == pytest.approx(found.gamma * 24_000 * 240, rel=1e-13)
    assert found.theta_per_day == pytest.approx([-75 * one.theta_per_day], rel=1e-12)
    assert found.vega_per_point == pytest.approx([-75 * one.vega_per_point], rel=1e-13)
    assert found.rho_per_point == pytest.approx([-75 * one.rho_per_point], rel=1e-13)


def test_on_its_own_forward_an_option_is_worth_what_black76_says() -> None:
    found = positions.greeks(mixed(), SPOT, RATE, YIELD).value
    prices = black76.price(24_030.0, [24_000, 23_500], WEEK, RATE, [0.12, 0.14], [True, False])
    assert found[:2] == pytest.approx(prices * [75, -150], rel=1e-12)
    assert found[3] == pytest.approx(-75 * (24_110.0 - 24_120.0), rel=1e-9)
    assert found[4] == 240_000.0


def test_shares_and_futures_by_hand() -> None:
    """A future at 24110 has a ratio of 24110/24000; a day takes ln(ratio)/30 of it; a point of rate adds 1 %·30/365."""
    found = positions.greeks(mixed(), SPOT, RATE, YIELD)
    ratio = 24_110 / 24_000
    assert found.delta[3:] == pytest.approx([-75 * ratio, 10], rel=1e-13)
    assert found.theta_per_day[3:] == pytest.approx([75 * 24_110 * math.log(ratio) / 30, 0.0], rel=1e-10)
    assert found.rho_per_point[3:] == pytest.approx([-75 * 24_110 * 0.01 * MONTH, 0.0], rel=1e-12)
    assert found.gamma[3:].tolist() == found.vega_per_point[3:].tolist() == [0.0, 0.0]


def test_the_net_is_the_sum_of_the_legs_and_not_known_where_one_is_not() -> None:
    found = positions.greeks(mixed(), SPOT, RATE, YIELD)
    for total, of_legs in zip(found.net(), found, strict=True):
        assert float(total) == pytest.approx(math.fsum(of_legs), rel=1e-12)
    unknown = mixed(implied_volatility=[0.12, math.nan, 0.13, math.nan, math.nan])
    assert math.isnan(positions.greeks(unknown, SPOT, RATE, YIELD).net().delta)


@given(st.floats(22_000, 26_000))
def test_the_greeks_are_the_slopes_of_the_profit(spot: float) -> None:
    def slope(step: float, values: list[float]) -> float:
        return float(np.array(values) @ [1, -8, 8, -1]) / (12 * step)

    def profit(rate: float = RATE, at: float = spot, **moved: float) -> float:
        return float(positions.profit(legs, at, rate, YIELD, **moved))

    legs, steps = mixed(forward=math.nan), (-2, -1, 1, 2)
    net = positions.greeks(legs, spot, RATE, YIELD).net()
    assert profit() == pytest.approx(float(net.profit), rel=1e-9, abs=1e-6)
    assert slope(5.0, [profit(at=spot + 5 * n) for n in steps]) == pytest.approx(float(net.delta), rel=1e-5, abs=1e-3)
    by_volatility = slope(0.001, [profit(volatility_shift=0.001 * n) for n in steps]) / 100
    assert by_volatility == pytest.approx(float(net.vega_per_point), rel=1e-5, abs=1e-2)
    by_time = slope(1e-5, [profit(years_ahead=1e-5 * n) for n in steps]) / 365
    assert by_time == pytest.approx(float(net.theta_per_day), rel=1e-4, abs=0.1)
    by_spot = [float(positions.greeks(legs, spot + 5 * n, RATE, YIELD).net().delta) for n in steps]
    assert slope(5.0, by_spot) == pytest.approx(float(net.gamma), rel=1e-4, abs=1e-6)
    by_rate = slope(1e-4, [profit(RATE + 1e-4 * n) for n in steps]) / 100
    assert by_rate == pytest.approx(float(net.rho_per_point), rel=1e-4, abs=0.01)


def test_a_grid_of_spots_volatilities_and_times_is_one_call() -> None:
    spots, shifts, times = [23_000.0, 24_000.0, 25_000.0], [-0.02, 0.0], [0.0, 1 / 365, 6 / 365, WEEK]
    grid = np.ix_(spots, shifts, times)
    found = positions.profit(mixed(), grid[0], RATE, YIELD, volatility_shift=grid[1], years_ahead=grid[2])
    assert found.shape == (3, 2, 4)
    alone = positions.profit(mixed(), 25_000.0, RATE, YIELD, volatility_shift=-0.02, years_ahead=6 / 365)
    assert found[2, 0, 2] == pytest.approx(float(alone), rel=1e-12)
    assert found[1, 1, 0] == pytest.approx(float(positions.greeks(mixed(), SPOT, RATE, YIELD).net().profit), rel=1e-9)


def test_profit_before_expiry_tends_to_the_payoff() -> None:
    spots = np.array([22_000.0, 23_200.0, 23_750.0, 24_200.0, 26_000.0])  # none at a strike
    at_expiry = payoff(mixed(), spots, RATE, YIELD)
    distances = [
        np.abs(positions.profit(mixed(), spots, RATE, YIELD, years_ahead=WEEK - left) - at_expiry).max()
        for left in (1e-4, 1e-6, 1e-8)
    ]
    assert distances == sorted(distances, reverse=True)
    assert distances[-1] < 0.01


def test_the_forward_meets_the_spot_at_expiry() -> None:
    future = Legs(kind=Kind.FUTURE, quantity=1, entry_price=0.0, time_to_expiry=MONTH, forward=24_110.0, spot=SPOT)
    found = positions.profit(future, [SPOT, 2 * SPOT], RATE, years_ahead=[[0.0], [MONTH / 2], [MONTH]])
    assert found[:, 1] == pytest.approx(2 * found[:, 0], rel=1e-14)
    assert found[:, 0] == pytest.approx([24_110.0, math.sqrt(24_110 * 24_000), 24_000.0], rel=1e-13)


def test_a_leg_that_expired_on_the_way_leaves_no_answer() -> None:
    assert math.isnan(positions.profit(mixed(), SPOT, RATE, years_ahead=8 / 365))
    assert math.isfinite(positions.profit(mixed(), SPOT, RATE, years_ahead=WEEK))


def test_at_a_spot_of_nothing_puts_pay_their_strike_and_the_rest_is_worthless() -> None:
    """-150·23500·e^(-rT) + 150·80, less what calls, future and shares cost."""
    found = positions.profit(mixed(), [0.0, -1.0, math.nan], RATE, YIELD)
    puts = -150 * (23_500 * math.exp(-RATE * WEEK) - 80.0)
    assert found[0] == pytest.approx(puts - 75 * 210 - 75 * 300 + 75 * 24_120 - 10 * 23_900, rel=1e-12)
    assert np.isnan(found[1:]).all()


def test_a_volatility_does_not_fall_below_zero() -> None:
    found = positions.profit(mixed(), SPOT, RATE, YIELD, volatility_shift=[-0.2, -0.5])
    assert found[0] == found[1]


def test_what_expires_needs_no_volatility() -> None:
    unknown = mixed(implied_volatility=[math.nan, math.nan, 0.13, math.nan, math.nan])
    assert math.isfinite(positions.profit(unknown, SPOT, RATE, YIELD, years_ahead=WEEK))
    assert math.isnan(positions.profit(unknown, SPOT, RATE, YIELD))


def test_no_legs_are_worth_nothing() -> None:
    nothing = Legs(kind=[], quantity=[], entry_price=[], is_call=np.empty(0, bool))
    assert len(nothing) == 0
    assert positions.profit(nothing, [1.0, 2.0], RATE).tolist() == [0.0, 0.0]
    assert [float(value) for value in positions.greeks(nothing, SPOT, RATE).net()] == [0.0] * 9


any_number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(st.sampled_from(Kind), st.booleans(), *[any_number] * 7), max_size=5), any_number, any_number)
def test_anything_gives_a_number_or_nan_and_never_a_warning(rows: list[Any], spot: float, rate: float) -> None:
    names = ("kind", "is_call", "strike", "time_to_expiry", "implied_volatility", "quantity", "entry_price",
             "forward", "spot")  # fmt: skip
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    legs = Legs(**(columns | {"is_call": np.array(columns["is_call"], bool)}))
    assert positions.profit(legs, [spot, 1.0], rate).shape == (2,)
    assert positions.greeks(legs, spot, rate).net().delta.shape == ()


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kind \(5,\).*quantity \(2,\)"):
        mixed(quantity=[1, 2])
    with pytest.raises(ValueError, match=r"kind must be one of \[0, 1, 2\]"):
        mixed(kind=3)
    with pytest.raises(ValueError, match="legs are one row"):
        Legs(kind=[[0]], quantity=1, entry_price=1)
    with pytest.raises(TypeError, match="is_call must hold booleans"):
        mixed(is_call=["CE", "PE", "CE", "CE", "CE"])
    with pytest.raises(ValueError, match=r"spot \(2,\).*years_ahead \(3,\)"):
        positions.profit(mixed(), [1.0, 2.0], RATE, years_ahead=[0.0, 0.1, 0.2])
