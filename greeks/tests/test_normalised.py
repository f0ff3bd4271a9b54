"""The pieces that the digits depend on, each against 50 of them."""

import itertools

import mpmath
import numpy as np
import pytest

from greeks.normalised import log_ratio, mills_gap

DIGITS = 50


@pytest.mark.parametrize("b", [1.0, 24000.0, 0.1])
def test_a_logarithm_of_a_ratio_is_exact_near_one_and_far_from_it(b: float) -> None:
    a = b * np.concatenate([1 + np.geomspace(1e-15, 0.9, 200), 1 - np.geomspace(1e-15, 0.9, 200), np.logspace(-20, 20)])
    with mpmath.workdps(DIGITS):
        exact = [float(mpmath.log(mpmath.mpf(value) / mpmath.mpf(b))) for value in a.tolist()]
    with np.errstate(divide="ignore"):
        found = log_ratio(a, np.full_like(a, b))
    assert found == pytest.approx(exact, rel=5e-16)


def test_equal_prices_have_no_logarithm_between_them() -> None:
    assert log_ratio(np.array([24000.0]), np.array([24000.0])) == 0.0


def test_the_time_value_per_slope_has_thirteen_digits_everywhere() -> None:
    """Also at 0.2 and 0.7, where the way of computing changes; h in deviations out of the money."""
    widths = [*np.geomspace(1e-6, 6.0, 30).tolist(), 0.2, 0.699, 0.7]
    h, v = np.array([*itertools.product(np.linspace(0.0, 30.0, 31).tolist(), widths)]).T
    with mpmath.workdps(DIGITS):
        exact = [
            float(_mills(-mpmath.mpf(a) + mpmath.mpf(b) / 2) - _mills(-mpmath.mpf(a) - mpmath.mpf(b) / 2))
            for a, b in zip(h.tolist(), v.tolist(), strict=True)
        ]
    assert mills_gap(h, v) == pytest.approx(exact, rel=1e-13)


def _mills(z: mpmath.mpf) -> mpmath.mpf:
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2 / mpmath.npdf(z)
