import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks.arrays import Floats
from greeks.term_structure import constant_maturity, forward_volatility

YEARS = np.array([7, 14, 35, 63]) / 365


def test_forward_volatility_by_hand() -> None:
    """w is 0.04·1 and 0.0625·2 = 0.125: 0.085 in the second year, whose root is 0.29155."""
    assert forward_volatility([1.0, 2.0], [0.20, 0.25]) == pytest.approx([0.29155], abs=5e-6)


def test_thirty_days_by_hand() -> None:
    """w·365 at 14 days: 14·0.0144 = 0.2016; at 35: 35·0.0169 = 0.5915; at 30: 0.2016 + 16/21·0.3899 = 0.49867."""
    found = constant_maturity(YEARS, [0.11, 0.12, 0.13, 0.14])
    assert found == pytest.approx(math.sqrt(0.498667 / 30), abs=1e-6)


@given(st.lists(st.floats(0.01, 1.0), min_size=4, max_size=4).map(np.array), st.floats(0.05, 2.0))
def test_variances_between_expiries_add_up_to_the_last(steps: Floats, first: float) -> None:
    volatility = np.sqrt(
        (first**2 * YEARS[0] + np.cumsum(np.append(0.0, steps[1:]) * np.diff(YEARS, prepend=0))) / YEARS
    )
    forward = forward_volatility(YEARS, volatility)
    total = volatility[0] ** 2 * YEARS[0] + float(np.square(forward) @ np.diff(YEARS))
    assert total == pytest.approx(volatility[-1] ** 2 * YEARS[-1], rel=1e-12)


def test_where_total_variance_falls_there_is_no_forward_volatility() -> None:
    found = forward_volatility(YEARS, [0.40, 0.20, 0.20, math.nan])
    assert np.isnan(found).tolist() == [True, False, True]
    assert found[1] == pytest.approx(0.2, rel=1e-14)


def test_a_flat_term_structure_is_flat_at_every_maturity() -> None:
    assert constant_maturity(YEARS, np.full(4, 0.15), [7, 30, 45, 63]) == pytest.approx(0.15, rel=1e-14)


def test_at_an_expiry_it_is_that_expirys() -> None:
    assert constant_maturity(YEARS, [0.11, 0.12, 0.13, 0.14], 35) == pytest.approx(0.13, rel=1e-14)


def test_unknown_expiries_are_passed_over_and_nothing_is_drawn_beyond_the_known() -> None:
    volatility = [math.nan, 0.12, math.nan, 0.12]
    assert constant_maturity(YEARS, volatility, 30) == pytest.approx(0.12, rel=1e-14)
    assert np.isnan(constant_maturity(YEARS, volatility, [7, 13.9, 63.1, 0, -1, math.nan])).all()
    assert math.isnan(constant_maturity([], []))
    assert forward_volatility([], []).shape == (0,)


def test_an_expiry_that_has_passed_counts_for_nothing() -> None:
    assert math.isnan(constant_maturity([0.0, 0.1], [0.9, 0.2], 10))
    assert constant_maturity([0.0, 10 / 365, 0.1], [0.9, 0.2, 0.2], 30) == pytest.approx(0.2)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"time_to_expiry \(2,\), volatility \(1,\)"):
        forward_volatility([1.0, 2.0], [0.2])
    with pytest.raises(ValueError, match="must ascend"):
        constant_maturity([2.0, 1.0], [0.2, 0.2])
