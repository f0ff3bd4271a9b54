import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import open_interest

STRIKES = [90.0, 100.0, 110.0]
CALLS, PUTS = [10.0, 20.0, 30.0], [40.0, 20.0, 10.0]
amounts = st.integers(0, 10**9).map(float)


def test_pain_is_what_holders_receive_at_each_strike() -> None:
    """At 90: puts 20·10 + 10·20. At 100: calls 10·10, puts 10·10. At 110: calls 10·20 + 20·10."""
    assert open_interest.pain(STRIKES, CALLS, PUTS).tolist() == [400.0, 200.0, 400.0]
    assert open_interest.max_pain(STRIKES, CALLS, PUTS) == 100.0


def test_of_strikes_with_equal_pain_the_lowest_is_named() -> None:
    """One put at 110 and one call at 90: 20 at 90, 10 + 10 at 100, 20 at 110."""
    assert open_interest.pain(STRIKES, [1, 0, 0], [0, 0, 1]).tolist() == [20.0, 20.0, 20.0]
    assert open_interest.max_pain(STRIKES, [1, 0, 0], [0, 0, 1]) == 90.0


@given(
    st.lists(st.tuples(st.integers(1, 10**6), amounts, amounts), min_size=1, max_size=30, unique_by=lambda row: row[0])
)
def test_pain_by_running_sums_is_pain_by_its_definition(rows: list[tuple[int, float, float]]) -> None:
    k, calls, puts = np.array(sorted(rows), dtype=np.float64).T
    rise = k[:, None] - k
    expected = (calls * np.maximum(rise, 0) + puts * np.maximum(-rise, 0)).sum(axis=1)
    assert open_interest.pain(k, calls, puts) == pytest.approx(expected, rel=1e-12)


def test_what_is_not_known_takes_no_part() -> None:
    calls, puts = [10.0, math.nan, 30.0], [40.0, 20.0, math.nan]
    assert open_interest.pain(STRIKES, calls, puts).tolist() == [200.0, 100.0, 200.0]
    assert open_interest.put_call_ratio(calls, puts) == 60 / 40
    assert open_interest.walls(STRIKES, calls).strike.tolist() == [110.0, 90.0]


@pytest.mark.parametrize("unknown", [[], [math.nan], [math.nan, math.nan]])
def test_of_nothing_known_nothing_is_said(unknown: list[float]) -> None:
    strikes = STRIKES[: len(unknown)]
    assert math.isnan(open_interest.max_pain(strikes, unknown, unknown))
    assert np.isnan(open_interest.pain(strikes, unknown, unknown)).all()
    assert math.isnan(open_interest.put_call_ratio(unknown, unknown))
    assert open_interest.walls(strikes, unknown).strike.tolist() == []


def test_where_nothing_is_open_no_strike_pays_least() -> None:
    assert open_interest.pain(STRIKES, [0, 0, 0], [0, 0, 0]).tolist() == [0.0, 0.0, 0.0]
    assert math.isnan(open_interest.max_pain(STRIKES, [0, 0, 0], [0, 0, 0]))


def test_the_ratio_is_puts_for_one_call() -> None:
    """(40 + 20 + 10) / (10 + 20 + 30)."""
    assert open_interest.put_call_ratio(CALLS, PUTS) == pytest.approx(7 / 6, rel=1e-15)
    assert math.isnan(open_interest.put_call_ratio([0.0], [1.0]))
    assert open_interest.put_call_ratio([1.0], [0.0]) == 0.0


def test_walls_stand_where_most_is_open() -> None:
    found = open_interest.walls([90, 100, 110, 120], [7, 9, 0, 9], count=2)
    assert found.strike.tolist() == [100.0, 120.0]
    assert found.size.tolist() == [9.0, 9.0]


def test_only_additions_are_walls_of_the_change() -> None:
    found = open_interest.walls(STRIKES, [-500.0, 20.0, -1.0])
    assert (found.strike.tolist(), found.size.tolist()) == ([100.0], [20.0])


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strike \(3,\).*call_oi \(2,\)"):
        open_interest.pain(STRIKES, [1, 2], [1, 2])
    with pytest.raises(ValueError, match=r"call \(1,\), put \(3,\)"):
        open_interest.put_call_ratio([1.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="strikes must ascend"):
        open_interest.pain(STRIKES[::-1], CALLS, PUTS)
    with pytest.raises(ValueError, match="count is -1"):
        open_interest.walls(STRIKES, CALLS, -1)
