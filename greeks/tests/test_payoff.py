"""The usual structures, worked out by hand, and what holds for all of them."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import ndtr

from greeks import payoff
from greeks.positions import Kind, Legs

RATE, YEARS = 0.06, 30 / 365
CALL, PUT = True, False
Leg = tuple[float, bool, float, float]


def options(*legs: Leg, **changes: Any) -> Legs:
    """Legs of one expiry by (strike, is_call, quantity, entry_price)."""
    strike, is_call, quantity, price = zip(*legs, strict=True)
    terms: dict[str, Any] = {"time_to_expiry": YEARS, "implied_volatility": 0.2} | changes
    return Legs(kind=Kind.OPTION, strike=strike, is_call=is_call, quantity=quantity, entry_price=price, **terms)


STRADDLE = options((100, CALL, 1, 4.0), (100, PUT, 1, 3.0))
BULL_SPREAD = options((100, CALL, 50, 4.0), (110, CALL, -50, 1.0))
IRON_CONDOR = options((90, PUT, 50, 0.5), (95, PUT, -50, 1.5), (105, CALL, -50, 1.4), (110, CALL, 50, 0.4))
RATIO_SPREAD = options((100, CALL, 1, 4.0), (105, CALL, -2, 1.5))
SHORT_PUT = options((100, PUT, -1, 3.0))
COVERED_CALL = Legs(
    kind=[Kind.SPOT, Kind.OPTION], strike=105.0, is_call=True, quantity=[100, -100], entry_price=[100.0, 2.0],
    time_to_expiry=YEARS, implied_volatility=0.2,
)  # fmt: skip
SHORT_FUTURE = Legs(kind=Kind.FUTURE, quantity=-50, entry_price=101.0, time_to_expiry=YEARS)
CALENDAR = options((100, CALL, -1, 2.0), (100, CALL, 1, 3.5), time_to_expiry=[YEARS, 2 * YEARS])


@pytest.mark.parametrize(
    ("legs", "break_evens", "max_profit", "max_loss"),
    [
        (STRADDLE, [93.0, 107.0], math.inf, 7.0),  # 7 was paid: 100 ± 7
        (BULL_SPREAD, [103.0], 350.0, 150.0),  # 3 was paid for at most 10: 50·7 and 50·3
        (IRON_CONDOR, [93.0, 107.0], 100.0, 150.0),  # 2 came in, at most 5 go out: 50·2 and 50·3
        (RATIO_SPREAD, [101.0, 109.0], 4.0, math.inf),  # 1 was paid; at 105 it is worth 5; above it falls by 1
        (SHORT_PUT, [97.0], 3.0, 97.0),
        (COVERED_CALL, [98.0], 700.0, 9_800.0),  # 100·(105 - 100 + 2), and all but the 2 may go
        (SHORT_FUTURE, [101.0], 5_050.0, math.inf),
    ],
)
def test_break_evens_and_extremes_by_hand(
    legs: Legs, break_evens: list[float], max_profit: float, max_loss: float
) -> None:
    assert payoff.break_evens(legs, RATE) == pytest.approx(break_evens, rel=1e-13)
    assert payoff.extremes(legs, RATE) == pytest.approx((max_profit, max_loss), rel=1e-13)


def test_the_payoff_of_an_iron_condor_by_hand() -> None:
    spots = [0.0, 90.0, 94.0, 95.0, 100.0, 106.0, 110.0, 1000.0]
    assert payoff.payoff(IRON_CONDOR, spots, RATE) == pytest.approx([-150, -150, 50, 100, 100, 50, -150, -150])


def test_a_position_that_cannot_lose_has_no_break_even_and_a_negative_loss() -> None:
    arbitrage = options((100, CALL, 1, 4.0), (110, CALL, -1, 5.0))
    assert payoff.break_evens(arbitrage, RATE).size == 0
    assert payoff.extremes(arbitrage, RATE) == (11.0, -1.0)
    assert payoff.probability_of_profit(arbitrage, 100.0, 0.2, RATE) == pytest.approx(1.0, rel=1e-14)


def test_where_the_payoff_lies_on_zero_the_ends_of_the_range_count() -> None:
    """Free of cost: nothing up to 100, then up to 5 at 105, down to nothing at 110 and below."""
    free = options((100, CALL, 1, 4.0), (105, CALL, -2, 2.0))
    assert payoff.break_evens(free, RATE) == pytest.approx([100.0, 110.0], rel=1e-14)
    box = options((100, CALL, 1, 5.0), (100, PUT, -1, 5.0), (100, CALL, -1, 5.0), (100, PUT, 1, 5.0))
    assert payoff.break_evens(box, RATE).size == 0
    assert payoff.extremes(box, RATE) == (0.0, 0.0)


def test_a_payoff_that_only_touches_zero_breaks_even_there() -> None:
    butterfly = options((90, CALL, 1, 12.0), (100, CALL, -2, 1.0), (110, CALL, 1, 0.0))  # 10 paid, worth 10 at 100
    assert payoff.break_evens(butterfly, RATE) == pytest.approx([100.0], rel=1e-14)
    assert payoff.extremes(butterfly, RATE) == (0.0, 10.0)
    assert payoff.probability_of_profit(butterfly, 100.0, 0.2, RATE) == 0.0


@given(
    st.lists(
        st.tuples(
            st.sampled_from([80, 90, 95, 100, 105, 110, 120]), st.booleans(), st.integers(-3, 3), st.floats(0, 20)
        ),
        min_size=1,
        max_size=5,
    )
)
def test_between_break_evens_the_sign_does_not_change_and_nothing_beats_the_extremes(legs: list[Leg]) -> None:
    position = options(*legs)
    breaks = payoff.break_evens(position, RATE)
    best, worst = payoff.extremes(position, RATE)
    spots = np.linspace(0.0, 400.0, 1601)
    values = payoff.payoff(position, spots, RATE)
    assert values.max() <= best + 1e-9
    assert values.min() >= -worst - 1e-9
    away = np.abs(values) > 1e-6
    region = np.searchsorted(breaks, spots)
    for number in range(breaks.size + 1):
        assert len(set(np.sign(values[away & (region == number)]))) <= 1


def test_a_calendar_is_priced_by_the_model_and_loses_no_more_than_it_cost() -> None:
    low, high = payoff.break_evens(CALENDAR, RATE, 0.0)
    assert low < 100 < high
    assert payoff.payoff(CALENDAR, [low, high], RATE) == pytest.approx([0.0, 0.0], abs=1e-9)
    best, worst = payoff.extremes(CALENDAR, RATE)
    assert worst == pytest.approx(1.5, rel=1e-6)
    assert best == pytest.approx(float(payoff.payoff(CALENDAR, 100.0, RATE)), rel=1e-12)


def test_the_smooth_top_of_a_diagonal_is_found_between_the_samples() -> None:
    diagonal = options((90, CALL, -1, 11.0), (130, CALL, 2, 0.5), (70, PUT, 1, 0.2), time_to_expiry=[YEARS, 1.0, 1.0])
    spots = np.linspace(0.0, 390.0, 200_001)
    worst = -payoff.payoff(diagonal, spots, RATE).min()
    assert payoff.extremes(diagonal, RATE).max_loss == pytest.approx(worst, rel=1e-9)
    assert payoff.extremes(diagonal, RATE).max_profit == math.inf


def test_a_long_call_pays_with_the_probability_of_the_closed_form() -> None:
    """P(S > K + paid) = Φ(d₂) with the break-even for a strike."""
    call = options((105, CALL, 1, 2.0))
    v = 0.2 * math.sqrt(YEARS)
    d2 = (math.log(100 / 107) + (RATE - 0.01) * YEARS) / v - v / 2
    found = payoff.probability_of_profit(call, 100.0, 0.2, RATE, 0.01)
    assert found == pytest.approx(float(ndtr(d2)), rel=1e-12)


@pytest.mark.parametrize("legs", [STRADDLE, BULL_SPREAD, IRON_CONDOR, RATIO_SPREAD, COVERED_CALL, CALENDAR])
def test_the_probability_is_the_lognormals_over_the_range_of_profit(legs: Legs) -> None:
    v, forward = 0.25 * math.sqrt(YEARS), 100.4

    def density(z: float) -> float:
        spot = forward * math.exp(v * z - v * v / 2)
        return float(payoff.payoff(legs, spot, RATE) > 0) * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)

    edges = [(math.log(b / forward) + v * v / 2) / v for b in payoff.break_evens(legs, RATE)]
    expected = sum(quad(density, low, high)[0] for low, high in zip([-9.0, *edges], [*edges, 9.0], strict=True))
    found = payoff.probability_of_profit(legs, 100.0, 0.25, RATE, forward=forward)
    assert found == pytest.approx(expected, abs=1e-9)


def test_the_odds_of_a_position_and_of_its_other_side_make_one() -> None:
    other = options((100, CALL, -1, 4.0), (100, PUT, -1, 3.0))
    odds = [payoff.probability_of_profit(legs, 101.0, 0.2, RATE) for legs in (STRADDLE, other)]
    assert sum(odds) == pytest.approx(1.0, rel=1e-14)


def test_the_legs_own_forward_is_the_middle_of_the_odds() -> None:
    given_forward = options((105, CALL, 1, 2.0), forward=103.0, spot=100.0)
    expected = payoff.probability_of_profit(options((105, CALL, 1, 2.0)), 100.0, 0.2, RATE, forward=103.0)
    assert payoff.probability_of_profit(given_forward, 100.0, 0.2, RATE) == pytest.approx(expected, rel=1e-12)


def test_without_volatility_it_ends_at_the_forward() -> None:
    assert payoff.probability_of_profit(SHORT_PUT, 100.0, 0.0, RATE) == 1.0
    assert payoff.probability_of_profit(STRADDLE, 100.0, 0.0, RATE) == 0.0


def test_all_of_it_in_one_call() -> None:
    found = payoff.outcome(IRON_CONDOR, 100.0, 0.2, RATE)
    assert found.expiry == YEARS
    assert found.break_evens == pytest.approx([93.0, 107.0])
    assert (found.max_profit, found.max_loss) == payoff.extremes(IRON_CONDOR, RATE)
    assert found.probability_of_profit == payoff.probability_of_profit(IRON_CONDOR, 100.0, 0.2, RATE)


@pytest.mark.parametrize(
    "legs",
    [
        options((100, CALL, 1, math.nan)),
        options((math.nan, CALL, 1, 1.0)),
        options((100, CALL, 1, 1.0), time_to_expiry=math.nan),
        options((100, CALL, -1, 2.0), (100, CALL, 1, 3.5), time_to_expiry=[YEARS, 1.0], implied_volatility=math.nan),
    ],
)
def test_what_is_not_known_of_a_leg_is_not_known_of_the_outcome(legs: Legs) -> None:
    found = payoff.outcome(legs, 100.0, 0.2, RATE)
    assert found.break_evens.size == 0
    assert np.isnan([found.max_profit, found.max_loss, found.probability_of_profit]).all()


def test_nothing_that_expires_has_no_odds_but_break_evens() -> None:
    shares = Legs(kind=Kind.SPOT, quantity=10, entry_price=100.0)
    found = payoff.outcome(shares, 100.0, 0.2, RATE)
    assert found.break_evens.tolist() == [100.0]
    assert (found.max_profit, found.max_loss) == (math.inf, 1_000.0)
    assert math.isnan(found.probability_of_profit)
    nothing = Legs(kind=[], quantity=[], entry_price=[], is_call=np.empty(0, bool))
    assert payoff.outcome(nothing, 100.0, 0.2, RATE)[2:4] == (0.0, 0.0)


@pytest.mark.parametrize(("spot", "volatility"), [(math.nan, 0.2), (0.0, 0.2), (100.0, -0.1), (100.0, math.nan)])
def test_no_odds_without_a_spot_and_a_volatility(spot: float, volatility: float) -> None:
    assert math.isnan(payoff.probability_of_profit(STRADDLE, spot, volatility, RATE))


any_number = st.floats(allow_nan=True, allow_infinity=True)


@given(
    st.lists(st.tuples(st.sampled_from(Kind), st.booleans(), *[any_number] * 5), max_size=4),
    st.tuples(any_number, any_number, any_number),
)
def test_anything_has_an_outcome_and_never_a_warning(rows: list[Any], market: tuple[float, float, float]) -> None:
    names = ("kind", "is_call", "strike", "time_to_expiry", "implied_volatility", "quantity", "entry_price")
    columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
    legs = Legs(**(columns | {"is_call": np.array(columns["is_call"], bool)}))
    found = payoff.outcome(legs, *market)
    assert not found.probability_of_profit < 0
    assert not found.probability_of_profit > 1 + 1e-12
