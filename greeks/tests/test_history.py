import math

import numpy as np
import pytest

from greeks.history import iv_percentile, iv_rank

PAST = [0.10, 0.11, 0.12, 0.14, 0.30]


def test_rank_and_percentile_by_hand() -> None:
    """(0.14 - 0.10) / (0.30 - 0.10) is a fifth of the range; three of five days stood lower."""
    assert iv_rank(0.14, PAST, least=5) == pytest.approx(20.0, rel=1e-14)
    assert iv_percentile(0.14, PAST, least=5) == 60.0


@pytest.mark.parametrize(("current", "value"), [(0.05, 0.0), (0.10, 0.0), (0.40, 100.0)])
def test_outside_the_past_they_stay_within_0_and_100(current: float, value: float) -> None:
    assert iv_rank(current, PAST, least=5) == value
    assert iv_percentile(current, PAST, least=5) == value


def test_days_that_are_not_known_are_passed_over() -> None:
    with_gaps = [math.nan, *PAST, math.inf, math.nan]
    assert iv_rank(0.14, with_gaps, least=5) == iv_rank(0.14, PAST, least=5)
    assert iv_percentile(0.14, with_gaps, least=5) == 60.0


def test_too_few_days_say_nothing() -> None:
    assert math.isnan(iv_rank(0.14, PAST))
    assert math.isnan(iv_percentile(0.14, PAST))
    assert math.isnan(iv_rank(0.14, [], least=1))
    assert math.isnan(iv_percentile(math.nan, PAST, least=5))
    assert math.isnan(iv_rank(math.nan, PAST, least=5))


def test_a_past_that_never_moved_has_no_range() -> None:
    assert math.isnan(iv_rank(0.2, [0.2] * 20))
    assert iv_percentile(0.2, [0.2] * 20) == 0.0


def test_many_underlyings_in_one_call() -> None:
    history = np.array([PAST, PAST[::-1]])
    assert iv_rank([0.14, 0.30], history, least=5) == pytest.approx([20.0, 100.0])
    assert iv_percentile([0.14, 0.30], history, least=5).tolist() == [60.0, 80.0]


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="days are needed"):
        iv_rank(0.1, 0.1)
    with pytest.raises(ValueError, match=r"current \(3,\), history \(2, 5\)"):
        iv_percentile([0.1, 0.1, 0.1], [PAST, PAST])
    with pytest.raises(ValueError, match="least is 0"):
        iv_rank(0.1, PAST, least=0)
