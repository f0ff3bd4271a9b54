"""Whatever the interleaving: in no rolling window is more granted than its limit, by Redis' own clock."""

import itertools
import threading
import time
import uuid

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.budget_limits import Limits, OrderKind, RouteClass, Window
from accounts.budget_log import Answer, Budget, ask

# As seconds and minutes, forty times as fast; the short window's reserve is one of three.
SHORT = Window("second", 0.025, 3, 1)
LONG = Window("minute", 0.12, 8, 2)
LIMITS = Limits((SHORT, LONG))

steps = st.lists(
    st.tuples(st.floats(0, 0.02), st.sampled_from([OrderKind.ENTRY, OrderKind.CANCEL]), st.integers(1, 2)),
    min_size=3,
    max_size=12,
)
Grant = tuple[int, OrderKind, int]  # microseconds, kind, cost


def client(budget: Budget, plan: list[tuple[float, OrderKind, int]], grants: list[Grant]) -> None:
    """One client: pause, ask, and every other time do as it is told and come again."""
    for pause, kind, cost in plan:
        time.sleep(pause)
        for _ in range(2):
            answer = ask("take", budget, kind=kind, cost=cost, charge_id=uuid.uuid4().hex)
            assert isinstance(answer, Answer)
            if answer.wait_seconds == 0:
                grants.append((answer.at, kind, cost))
                break
            time.sleep(answer.wait_seconds)


def most_within(moments: list[int], seconds: float) -> int:
    """The most moments (microseconds, in order) in any half-open window of this length."""
    most, first = 0, 0
    for last, moment in enumerate(moments):
        while moment - moments[first] >= round(seconds * 1_000_000):
            first += 1
        most = max(most, last - first + 1)
    return most


@pytest.mark.usefixtures("valkey")
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(plans=st.lists(steps, min_size=2, max_size=6))
def test_no_rolling_window_ever_holds_more_than_its_limit(plans: list[list[tuple[float, OrderKind, int]]]) -> None:
    budget = Budget("test", uuid.uuid4().hex, RouteClass.ORDERS, LIMITS)
    grants: list[Grant] = []
    threads = [threading.Thread(target=client, args=(budget, plan, grants)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert grants
    grants.sort(key=lambda grant: grant[0])
    for window in (SHORT, LONG):
        moments = list(itertools.chain.from_iterable([at] * cost for at, _, cost in grants))
        assert most_within(moments, window.seconds) <= window.limit
        entries = [at for at, kind, cost in grants if kind is OrderKind.ENTRY for _ in range(cost)]
        assert most_within(entries, window.seconds) <= window.limit - window.reserve
