"""What Celery may do to orders is held by settings; each has a reason in the design, and a slip would show late."""

import ast
from pathlib import Path
from typing import Any

import pytest
from celery.schedules import crontab
from django.conf import settings

from tickerproject.celery import app

ROOT = Path(__file__).resolve().parents[2]
APPS = ("accounts", "market", "orders", "streaming", "dashboard", "tickerproject")


def test_a_message_that_a_worker_died_with_is_delivered_again_and_no_worker_hoards_them() -> None:
    assert (app.conf.task_acks_late, app.conf.task_reject_on_worker_lost) == (True, True)
    assert app.conf.worker_prefetch_multiplier == 1


def test_a_message_counts_as_lost_after_the_same_time_in_every_place_that_asks() -> None:
    seconds = settings.CELERY_VISIBILITY_TIMEOUT
    assert seconds == 120
    assert app.conf.visibility_timeout == seconds
    assert app.conf.broker_transport_options["visibility_timeout"] == seconds
    assert app.conf.result_backend_transport_options["visibility_timeout"] == seconds


def test_redis_is_waited_for_for_seconds_only() -> None:
    options = app.conf.broker_transport_options
    names = ("socket_timeout", "socket_connect_timeout", "health_check_interval", "unacked_restore_throttle")
    assert [options[name] for name in names] == [5, 2, 10, 1]


def test_messages_are_json_and_nothing_is_kept_of_results() -> None:
    assert (app.conf.task_serializer, app.conf.accept_content) == ("json", ["json"])
    assert app.conf.task_ignore_result
    assert app.conf.result_backend is None


@pytest.mark.parametrize(
    ("task", "queue"),
    [("orders.wake", "orders"), ("orders.sweep", "orders"), ("orders.reconcile", "sync"), ("accounts.x", "default")],
)
def test_looking_up_does_not_stand_in_the_queue_before_sending(task: str, queue: str) -> None:
    assert app.amqp.router.route({}, task)["queue"].name == queue


@pytest.mark.parametrize("name", settings.CELERY_BEAT_SCHEDULE)
def test_what_beat_sends_while_no_worker_is_there_does_not_pile_up(name: str) -> None:
    entry: dict[str, Any] = settings.CELERY_BEAT_SCHEDULE[name]
    interval = 86_400 if isinstance(entry["schedule"], crontab) else entry["schedule"]
    assert 0 < entry["options"]["expires"] <= interval


def test_nothing_is_sent_to_a_far_future() -> None:
    """A delay is `run_after` in a row: a message that waits longer than the visibility timeout is delivered twice."""
    found = []
    for folder in APPS:
        for path in (ROOT / folder).rglob("*.py"):
            if "tests" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                # Instruments are fetched again after a minute, no far future; orders have a retry of their own.
                if isinstance(node, ast.keyword) and node.arg in {"eta", "time_limit"} | (
                    {"autoretry_for"} if folder != "market" else set()
                ):
                    found.append(f"{path.relative_to(ROOT)}:{node.value.lineno} {node.arg}")
    assert found == []


def test_tasks_of_accounts_and_orders_take_ids_and_nothing_else() -> None:
    """What the market's take is no secret: an underlying, a number of days."""
    app.loader.import_default_modules()
    ours = {name: task for name, task in app.tasks.items() if name.partition(".")[0] in {"accounts", "orders"}}
    assert ours
    for name, task in ours.items():
        hints = {key: kind for key, kind in task.run.__annotations__.items() if key != "return"}
        assert set(hints.values()) <= {int, "int"}, name
