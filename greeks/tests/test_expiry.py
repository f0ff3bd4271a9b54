import math

import numpy as np
import pytest

from greeks import years_between

CLOSE = 1_764_583_800.0  # some close


@pytest.mark.parametrize(
    ("seconds_before", "years"), [(365 * 86400, 1.0), (86400, 1 / 365), (60, 60 / 31_536_000), (1, 1 / 31_536_000)]
)
def test_a_year_has_365_days_of_seconds(seconds_before: float, years: float) -> None:
    assert years_between(CLOSE - seconds_before, CLOSE) == pytest.approx(years, rel=1e-15)


@pytest.mark.parametrize("seconds_after", [0, 1, 86400])
def test_at_and_after_the_close_no_time_is_left(seconds_after: float) -> None:
    assert years_between(CLOSE + seconds_after, CLOSE) == 0.0


def test_it_broadcasts_and_passes_on_what_is_unknown() -> None:
    found = years_between(CLOSE - 86400, [CLOSE, math.nan, math.inf, CLOSE - 2 * 86400])
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [1 / 365, math.nan, math.nan, 0.0])


def test_shapes_that_do_not_broadcast_are_named() -> None:
    with pytest.raises(ValueError, match=r"now_seconds \(2,\), close_seconds \(3,\)"):
        years_between([1.0, 2.0], [1.0, 2.0, 3.0])
