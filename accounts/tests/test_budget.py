"""Budgets in a real Redis: what goes, what waits and for how long, and that no limit is lifted by losing anything."""

import threading
import time
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import redis
import time_machine
from pytest_django import Settings

from accounts import budget, shared_scripts
from accounts.budget import (
    Go,
    Wait,
    acquire_data,
    acquire_order,
    acquire_order_without_redis,
    data_wait,
    freeze_data,
    freeze_orders,
    order_wait,
)
from accounts.budget_limits import OrderKind, RouteClass, limit_problems, limits_of
from accounts.budget_log import Budget, ProcessLogs
from accounts.exceptions import BudgetUnavailable
from accounts.models import OrderDay, TradingAccount
from accounts.order_days import DayMemory, date_of, write_day

pytestmark = pytest.mark.usefixtures("valkey", "fresh_memory")

NOWHERE = "redis://127.0.0.1:1/0"
ENTRY, EXIT, MODIFY, CANCEL = OrderKind.ENTRY, OrderKind.EXIT, OrderKind.MODIFY, OrderKind.CANCEL


@pytest.fixture(autouse=True)
def two_in_reserve(settings: Settings) -> None:
    settings.ORDER_BUDGET_RESERVE_PER_SECOND = 2


@pytest.fixture
def fresh_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process remembers of budgets; a new one remembers nothing."""
    monkeypatch.setattr(budget, "_days", DayMemory())
    monkeypatch.setattr(budget, "_of_this_process", ProcessLogs())
    shared_scripts._server.cache_clear()


@pytest.fixture
def charge(account: TradingAccount) -> Any:
    """Acquire with a new id each time, as a new attempt of a new task has."""
    number = 0

    def acquire(kind: OrderKind, cost: int = 1) -> Go | Wait:
        nonlocal number
        number += 1
        return acquire_order(account, kind, charge_id=f"task-{number}", cost=cost)

    return acquire


def granted(answers: list[Go | Wait]) -> int:
    return sum(isinstance(answer, Go) for answer in answers)


def today(valkey: "redis.Redis") -> date:
    """The Indian date by Redis' clock, which is what budgets go by."""
    seconds, _ = valkey.time()
    return (datetime.fromtimestamp(seconds, UTC) + timedelta(hours=5, minutes=30)).date()


def test_entries_leave_the_reserve_to_cancels_and_exits(charge: Any) -> None:
    assert granted([charge(ENTRY) for _ in range(9)]) == 6
    assert granted([charge(MODIFY) for _ in range(3)]) == 0
    assert granted([charge(kind) for kind in (CANCEL, EXIT, CANCEL)]) == 2


def test_a_wait_is_told_charges_nothing_and_is_long_enough(charge: Any, account: TradingAccount) -> None:
    for _ in range(6):
        charge(ENTRY)
    wait = charge(ENTRY)
    assert wait.window == "second"
    assert 0 < wait.seconds <= 1.1
    assert 0 < order_wait(account, ENTRY) <= 1.1
    assert order_wait(account, CANCEL) == 0
    time.sleep(wait.seconds)
    assert isinstance(charge(ENTRY), Go)


def test_slices_count_each_and_wait_until_all_of_them_fit(charge: Any) -> None:
    assert isinstance(charge(ENTRY, cost=4), Go)
    assert isinstance(charge(ENTRY, cost=3), Wait)
    assert isinstance(charge(ENTRY, cost=2), Go)
    with pytest.raises(ValueError, match="never fits"):
        charge(ENTRY, cost=7)


def test_all_windows_are_charged_or_none(charge: Any, settings: Settings, valkey: "redis.Redis") -> None:
    settings.ORDER_BUDGET_PER_MINUTE, settings.ORDER_BUDGET_RESERVE_PER_MINUTE = 5, 1
    assert granted([charge(ENTRY) for _ in range(6)]) == 4
    wait = charge(ENTRY)
    assert wait.window == "minute"
    assert 58 < wait.seconds <= 60
    assert valkey.zcard("ticker:budget:AB1234:orders") == 4
    assert int(valkey.hget("ticker:budget:AB1234:orders:facts", "used") or 0) == 4
    assert granted([charge(CANCEL) for _ in range(3)]) == 1


def test_the_day_counts_orders_and_not_their_changes(charge: Any, settings: Settings, account: TradingAccount) -> None:
    settings.ORDER_BUDGET_PER_DAY, settings.ORDER_BUDGET_RESERVE_PER_DAY = 3, 1
    assert granted([charge(kind) for kind in (CANCEL, MODIFY)]) == 2
    assert granted([charge(ENTRY) for _ in range(3)]) == 2
    assert isinstance(charge(EXIT), Go)
    wait = charge(EXIT)
    assert wait.window == "day"
    into_the_day = (time.time() + wait.seconds + 5.5 * 3600) % 86_400
    assert min(into_the_day, 86_400 - into_the_day) < 5, "until midnight in India"
    assert isinstance(charge(CANCEL), Go)
    assert order_wait(account, EXIT) > 1


def test_a_charge_says_whether_another_one_has_room(account: TradingAccount, valkey: "redis.Redis") -> None:
    rooms: list[bool] = []
    while isinstance(answer := acquire_order(account, ENTRY, charge_id=f"task-{len(rooms)}:1"), Go):
        rooms.append(answer.has_room)
    assert len(rooms) > 1
    assert rooms == [True] * (len(rooms) - 1) + [False]


def test_the_same_charge_twice_is_charged_once(account: TradingAccount, valkey: "redis.Redis") -> None:
    answers = [acquire_order(account, ENTRY, charge_id="task-1:1", cost=6) for _ in range(3)]
    assert answers == [Go("task-1:1")] * 3
    assert valkey.zcard("ticker:budget:AB1234:orders") == 6


def test_looking_charges_nothing(account: TradingAccount) -> None:
    assert [order_wait(account, ENTRY) for _ in range(20)] == [0.0] * 20
    assert [data_wait("appkey1", RouteClass.QUOTE) for _ in range(20)] == [0.0] * 20


@pytest.mark.parametrize(
    ("route_class", "limit"), [(RouteClass.QUOTE, 1), (RouteClass.HISTORICAL, 3), (RouteClass.OTHER, 8)]
)
def test_data_calls_are_counted_by_key_and_class(route_class: RouteClass, limit: int) -> None:
    assert granted([acquire_data("appkey1", route_class) for _ in range(12)]) == limit
    assert isinstance(acquire_data("appkey2", route_class), Go)
    assert 1 < data_wait("appkey1", RouteClass.QUOTE) <= 1.05 or route_class is not RouteClass.QUOTE


def test_too_many_requests_freezes_the_class_for_as_long_as_was_said(charge: Any, account: TradingAccount) -> None:
    freeze_data("appkey1", RouteClass.OTHER, 7)
    freeze_data("appkey1", RouteClass.OTHER, 2)
    assert 6.5 < data_wait("appkey1", RouteClass.OTHER) <= 7
    assert data_wait("appkey1", RouteClass.HISTORICAL) == 0
    freeze_orders(account, 10_000)
    wait = charge(CANCEL)
    assert wait.window == "frozen"
    assert wait.seconds <= 60


def test_no_setting_passes_the_brokers_own_limits(charge: Any, settings: Settings) -> None:
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 50, 0
    settings.ORDER_BUDGET_PER_MINUTE = settings.ORDER_BUDGET_PER_DAY = 10**6
    settings.DATA_BUDGET_QUOTE, settings.DATA_BUDGET_WINDOW_SECONDS = 9, 0.01
    settings.ORDER_BUDGET_WINDOW_SECONDS = 0.01
    assert granted([charge(ENTRY) for _ in range(14)]) == 10
    orders, quotes = limits_of(RouteClass.ORDERS), limits_of(RouteClass.QUOTE)
    assert ([window.limit for window in orders.windows], orders.per_day) == ([10, 400], 5000)
    assert orders.windows[0].seconds == 1.0
    assert [(window.limit, window.seconds) for window in quotes.windows] == [(1, 1.0)]
    names = {problem.split()[0] for problem in limit_problems(settings)}
    assert {"ORDER_BUDGET_PER_SECOND", "DATA_BUDGET_QUOTE", "DATA_BUDGET_WINDOW_SECONDS"} <= names


def test_what_is_kept_in_redis_is_bounded_and_ends_by_itself(charge: Any, valkey: "redis.Redis") -> None:
    for _ in range(50):
        charge(EXIT)
        acquire_data("appkey1", RouteClass.QUOTE)
    freeze_data("appkey1", RouteClass.QUOTE, 5)
    keys = sorted(key.decode() for key in valkey.scan_iter("ticker:*"))
    assert [key for key in keys if valkey.ttl(key) < 0] == []
    assert valkey.zcard("ticker:budget:AB1234:orders") == 8
    assert "appkey1" not in " ".join(keys)


def test_a_server_that_has_forgotten_the_script_is_told_again(charge: Any, valkey: "redis.Redis") -> None:
    assert granted([charge(ENTRY) for _ in range(3)]) == 3
    valkey.script_flush()
    assert granted([charge(ENTRY) for _ in range(9)]) == 3


@pytest.mark.parametrize("minutes", [10, -10])
def test_f72_a_worker_with_a_wrong_clock_gets_no_more_and_waits_no_longer(charge: Any, minutes: int) -> None:
    for _ in range(4):
        charge(ENTRY)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=minutes)):
        answers = [charge(ENTRY) for _ in range(4)]
    assert granted(answers) == 2
    assert all(answer.seconds <= 1.1 for answer in answers if isinstance(answer, Wait))


def test_a_redis_whose_clock_was_set_back_does_not_block_for_longer_than_a_window(
    charge: Any, valkey: "redis.Redis"
) -> None:
    charge(ENTRY)
    seconds, _ = valkey.time()
    valkey.zadd("ticker:budget:AB1234:orders", {f"future:{n}": (seconds + 3600) * 1_000_000 for n in range(6)})
    wait = charge(ENTRY)
    assert isinstance(wait, Wait)
    assert wait.seconds <= 1.1


def test_a_redis_that_lost_its_memory_lifts_no_limit(
    charge: Any, account: TradingAccount, settings: Settings, valkey: "redis.Redis"
) -> None:
    unwritten = 4 * 8  # what seconds between two writings may have let through
    settings.ORDER_BUDGET_PER_DAY, settings.ORDER_BUDGET_RESERVE_PER_DAY = 4 + unwritten + 1, 0
    assert isinstance(charge(ENTRY), Go)
    write_day(account.pk, budget._days.known(account.pk).day, 4)  # as another process wrote it down since
    valkey.flushall()
    assert isinstance(charge(CANCEL), Wait), "the second that was lost may have been full"
    assert 58 < charge(ENTRY).seconds <= 60, "and so may the minute"
    time.sleep(1.1)
    assert isinstance(charge(EXIT), Go)
    assert charge(EXIT).window == "day"


def test_a_start_after_a_quiet_minute_holds_nobody_up(
    charge: Any, account: TradingAccount, valkey: "redis.Redis"
) -> None:
    OrderDay.objects.create(
        account=account, day=today(valkey), used=30, charged_at=datetime.now(UTC) - timedelta(minutes=5)
    )
    assert isinstance(charge(ENTRY), Go)
    assert int(valkey.hget("ticker:budget:AB1234:orders:facts", "used") or 0) == 30 + 4 * 8 + 1


def test_the_count_is_written_down_before_the_first_charge_and_then_every_few_seconds(
    charge: Any, account: TradingAccount, monkeypatch: pytest.MonkeyPatch, valkey: "redis.Redis"
) -> None:
    moment = 100.0
    monkeypatch.setattr(budget, "_days", DayMemory(lambda: moment))

    def written() -> int:
        return OrderDay.objects.get(account=account, day=today(valkey)).used

    charge(ENTRY)
    charge(ENTRY)
    assert written() == 0
    moment += 3.1
    charge(ENTRY)
    assert written() == 2


def test_a_redis_restored_from_an_older_copy_is_told_the_larger_count(
    charge: Any, account: TradingAccount, valkey: "redis.Redis"
) -> None:
    charge(ENTRY)
    day = budget._days.known(account.pk).day
    write_day(account.pk, day, 40)
    budget._days.forget()  # a process that starts
    charge(ENTRY)
    assert valkey.hget("ticker:budget:AB1234:orders:facts", "used") == b"41"


def test_a_redis_that_lost_the_script_is_sent_it_again_and_charges_once(charge: Any, valkey: "redis.Redis") -> None:
    charge(ENTRY)
    valkey.script_flush()
    assert isinstance(charge(ENTRY), Go)
    assert valkey.zcard("ticker:budget:AB1234:orders") == 2


def test_writing_down_an_older_count_changes_nothing(account: TradingAccount) -> None:
    assert write_day(account.pk, 20_000, 9).used == 9
    assert write_day(account.pk, 20_000, 4).used == 9
    assert OrderDay.objects.get().day == date_of(20_000)


def test_orders_wait_for_redis_and_cancels_go_by_the_database(
    charge: Any, account: TradingAccount, settings: Settings
) -> None:
    settings.REDIS_URL = NOWHERE
    with pytest.raises(BudgetUnavailable):
        charge(ENTRY)
    first = acquire_order_without_redis(account, CANCEL, charge_id="c")
    assert isinstance(first, Wait), "the second in which Redis was lost may be full"
    time.sleep(first.seconds)
    assert granted([acquire_order_without_redis(account, CANCEL, charge_id="c") for _ in range(5)]) == 2


def test_orders_let_through_without_redis_count_in_its_day_when_it_is_back(
    charge: Any, account: TradingAccount, settings: Settings
) -> None:
    settings.ORDER_BUDGET_PER_DAY, settings.ORDER_BUDGET_RESERVE_PER_DAY = 4, 0
    charge(ENTRY)
    assert granted([acquire_order_without_redis(account, EXIT, charge_id="c") for _ in range(2)]) == 2
    assert granted([charge(EXIT) for _ in range(5)]) == 1
    budget._days.forget()  # a process that starts writes the count down when it first asks
    assert charge(EXIT).window == "day"
    wait = acquire_order_without_redis(account, EXIT, charge_id="c")
    assert isinstance(wait, Wait)


@pytest.mark.django_db(transaction=True)
def test_without_redis_many_threads_share_two_a_second(account: TradingAccount) -> None:
    from django.db import connection

    granted_at: list[float] = []
    stop_at = time.monotonic() + 2.2

    def work() -> None:
        while time.monotonic() < stop_at:
            answer = acquire_order_without_redis(account, CANCEL, charge_id="c")
            if isinstance(answer, Go):
                granted_at.append(time.monotonic())
            else:
                time.sleep(min(answer.seconds, 0.05))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    moments = list(OrderDay.objects.values_list("latest_without_redis", flat=True).get())
    assert 4 <= len(granted_at) <= 6
    assert len(moments) <= 2


def test_data_calls_go_slower_while_redis_is_away(settings: Settings) -> None:
    moment = 100.0
    logs = ProcessLogs(lambda: moment)
    settings.DATA_BUDGET_PROCESSES = 4
    quotes = budget.data_budget("appkey1", RouteClass.QUOTE)
    assert logs.take(quotes, away_since=moment) == pytest.approx(1.05), "what Redis counted last is not known"
    moment += 1.05
    assert logs.take(quotes, away_since=100.0) == 0
    assert logs.take(quotes, away_since=100.0) == pytest.approx(4.2)
    moment += 0.05
    assert logs.just_used(quotes) == pytest.approx(1.0), "Redis is back, and has not seen the latest"
    moment += 1.0
    assert logs.just_used(quotes) == 0


def test_a_dead_redis_costs_a_data_call_no_time(settings: Settings) -> None:
    settings.REDIS_URL = NOWHERE
    began = time.monotonic()
    for _ in range(20):
        acquire_data("appkey1", RouteClass.OTHER)
    freeze_data("appkey1", RouteClass.OTHER, 5)
    assert time.monotonic() - began < 0.5
    assert 4 < data_wait("appkey1", RouteClass.OTHER) <= 5


def test_orders_are_no_data_calls() -> None:
    with pytest.raises(ValueError, match="per account"):
        acquire_data("appkey1", RouteClass.ORDERS)
    assert isinstance(budget.data_budget("appkey1", RouteClass.OTHER), Budget)
