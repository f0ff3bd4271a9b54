"""Which quotes have no implied volatility, and why; and that those which have one get it."""

import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import Reason, black76, black_scholes

MODELS = pytest.mark.parametrize("model", [black_scholes, black76], ids=["black_scholes", "black76"])


@MODELS
@pytest.mark.parametrize(
    ("price", "strike", "is_call", "reason"),
    [
        (9.0, 90.0, True, Reason.BELOW_INTRINSIC),
        (9.0, 110.0, False, Reason.BELOW_INTRINSIC),
        (0.0, 90.0, True, Reason.BELOW_INTRINSIC),
        (10.0, 90.0, True, Reason.NO_TIME_VALUE),
        (0.0, 110.0, True, Reason.NO_TIME_VALUE),
        (100.0, 90.0, True, Reason.ABOVE_BOUND),
        (90.0, 90.0, False, Reason.ABOVE_BOUND),
        (250.0, 110.0, True, Reason.ABOVE_BOUND),
        (-0.05, 110.0, True, Reason.BAD_INPUT),
        (math.nan, 110.0, True, Reason.BAD_INPUT),
        (math.inf, 110.0, True, Reason.BAD_INPUT),
        (5.0, 0.0, True, Reason.BAD_INPUT),
    ],
)
def test_a_quote_without_a_volatility_says_why(
    model: ModuleType, price: float, strike: float, is_call: bool, reason: Reason
) -> None:
    volatility, found = model.implied_volatility(price, 100.0, strike, 0.1, 0.0, is_call)
    assert math.isnan(volatility)
    assert Reason(int(found)) is reason


@MODELS
def test_at_expiry_no_price_implies_a_volatility(model: ModuleType) -> None:
    volatility, reason = model.implied_volatility([5.0, 9.0, 15.0, 120.0], 100.0, [110, 90, 90, 90], 0.0, 0.1, True)
    assert np.isnan(volatility).all()
    assert reason.tolist() == [
        Reason.NO_TIME_VALUE, Reason.BELOW_INTRINSIC, Reason.NO_TIME_VALUE, Reason.ABOVE_BOUND
    ]  # fmt: skip


@MODELS
def test_good_quotes_are_solved_beside_bad_ones(model: ModuleType) -> None:
    strikes, calls = np.array([90.0, 100.0, 110.0, 120.0]), np.array([True, False, True, True])
    prices = np.asarray(model.price(100.0, strikes, 0.1, 0.1, 0.2, calls)).copy()
    prices[1:3] = math.nan, 300.0
    volatility, reason = model.implied_volatility(prices, 100.0, strikes, 0.1, 0.1, calls)
    assert reason.dtype == np.int8
    assert reason.tolist() == [Reason.OK, Reason.BAD_INPUT, Reason.ABOVE_BOUND, Reason.OK]
    assert volatility[[0, 3]] == pytest.approx(0.2, rel=1e-12)
    assert np.isnan(volatility[1:3]).all()


def test_arguments_broadcast() -> None:
    prices = black76.price(100.0, [[90.0], [110.0]], 0.1, 0.1, 0.2, [True, False])
    volatility, reason = black76.implied_volatility(prices, 100.0, [[90.0], [110.0]], 0.1, 0.1, [True, False])
    assert volatility.shape == reason.shape == (2, 2)
    assert volatility == pytest.approx(0.2, rel=1e-12)
    alone = black76.implied_volatility(float(prices[0, 0]), 100.0, 90.0, 0.1, 0.1, True)
    assert alone.volatility.shape == alone.reason.shape == ()
    assert alone.volatility == volatility[0, 0]


@MODELS
@pytest.mark.parametrize(
    ("volatility", "years"),
    [
        (0.01, 1 / 525600),
        (5.0, 1 / 525600),
        (20.0, 1 / 525600),
        (0.01, 1 / 365),
        (5.0, 1 / 365),
        (0.01, 1.0),
        (5.0, 1.0),
    ],
)
def test_at_the_money_any_volatility_comes_back(model: ModuleType, volatility: float, years: float) -> None:
    price = model.price(24000.0, 24000.0, years, 0.0, volatility, [True, False])
    found, reason = model.implied_volatility(price, 24000.0, 24000.0, years, 0.0, [True, False])
    assert reason.tolist() == [Reason.OK, Reason.OK]
    assert found == pytest.approx(volatility, rel=1e-9)


def test_a_price_of_nearly_nothing_still_has_a_volatility() -> None:
    price = black76.price(100.0, 1000.0, 0.1, 0.0, [0.20, 0.25], True)  # 1e-291 and 1e-188
    assert (price < 1e-180).all()
    found, reason = black76.implied_volatility(price, 100.0, 1000.0, 0.1, 0.0, True)
    assert reason.tolist() == [Reason.OK, Reason.OK]
    assert found == pytest.approx([0.20, 0.25], rel=1e-12)


def test_a_call_and_a_put_at_parity_have_one_volatility() -> None:
    strikes = np.arange(22000.0, 27000.0, 50.0)
    call, put = black76.price(24612.35, strikes, 9 / 365, 0.1, 0.14, [[True], [False]])
    from_call = black76.implied_volatility(call, 24612.35, strikes, 9 / 365, 0.1, True).volatility
    from_put = black76.implied_volatility(put, 24612.35, strikes, 9 / 365, 0.1, False).volatility
    near = np.abs(strikes - 24612.35) < 1500
    assert from_call[near] == pytest.approx(from_put[near], rel=1e-9)


@MODELS
@given(
    st.floats(0.01, 1e6), st.floats(0.01, 1e6), st.floats(0.0, 1e6), st.floats(1e-7, 10.0), st.floats(-0.1, 0.3),
    st.booleans(),
)  # fmt: skip
def test_every_answer_reprices_the_quote(
    model: ModuleType, s: float, k: float, price: float, t: float, r: float, is_call: bool
) -> None:
    volatility, reason = model.implied_volatility(price, s, k, t, r, is_call)
    if reason == Reason.OK:
        again = model.price(s, k, t, r, volatility, is_call)
        assert again == pytest.approx(price, rel=1e-12, abs=2e-14 * max(s, k))


@MODELS
def test_a_dearer_option_has_a_higher_volatility(model: ModuleType) -> None:
    prices = np.geomspace(1e-12, 99.0, 2000)
    volatility, reason = model.implied_volatility(prices, 100.0, 110.0, 0.25, 0.0, True)
    assert (reason == Reason.OK).all()
    assert (np.diff(volatility) > 0).all()


def test_the_dividend_yield_is_taken_into_account() -> None:
    price = black_scholes.price(100.0, 95.0, 0.5, 0.10, 0.20, False, dividend_yield=0.05)
    found = black_scholes.implied_volatility(price, 100.0, 95.0, 0.5, 0.10, False, dividend_yield=0.05)
    assert found.volatility == pytest.approx(0.20, rel=1e-13)


def test_the_reasons_keep_their_numbers() -> None:
    """They are stored and sent: a number must not come to mean another reason."""
    assert {reason.name: reason.value for reason in Reason} == {
        "OK": 0,
        "BELOW_INTRINSIC": 1,
        "ABOVE_BOUND": 2,
        "NO_TIME_VALUE": 3,
        "BAD_INPUT": 4,
    }


@pytest.mark.parametrize(("price", "years"), [(-1.0, math.inf), (1.0, math.inf), (-1.0, 1.0)])
def test_a_negative_price_or_time_without_end_is_bad_input(price: float, years: float) -> None:
    volatility, reason = black76.implied_volatility(price, 1.0, 1.0, years, -1.0, False)
    assert math.isnan(volatility)
    assert reason == Reason.BAD_INPUT
