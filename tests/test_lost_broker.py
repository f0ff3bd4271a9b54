"""Celery's connection to Redis when Redis is killed at the worst moment: with a task in hand, waiting for the next."""

import logging
from contextlib import suppress
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Message, Producer, Queue
from kombu.transport import redis

from tests.test_broker_limits import own_valkey
from tickerproject.celery import app
from tickerproject.local.ports import any_free
from tickerproject.local.valkey import Valkey


def test_a_worker_with_a_task_in_hand_can_let_go_of_a_redis_that_was_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As Celery does it: `collect`, `close`, later the acknowledgement. An error that is no loss would end a worker."""
    assert app.connection().transport_cls == "redis"
    taken: list[Message] = []
    with own_valkey(tmp_path, port := any_free()) as process:
        connection = Connection(Valkey(tmp_path, port, durable=False).url)
        for queue in ("orders", "pidbox"):  # a worker listens to more than its tasks
            channel = connection.channel() if queue == "pidbox" else connection.default_channel
            Queue(queue, channel=channel).declare()
            Consumer(channel, [Queue(queue)], callbacks=[lambda _, message: taken.append(message)]).consume()
        Producer(connection.default_channel).publish("an order", routing_key="orders", serializer="json")
        for _ in range(3):
            with suppress(TimeoutError):
                connection.drain_events(timeout=0.3)
        assert len(taken) == 1
        process.kill()
        process.wait()
        lost = redis.get_redis_error_classes().connection_errors
        with suppress(*lost):
            connection.collect()
        connection.close()
        taken[0].ack_log_error(logging.getLogger(__name__), lost)
    assert "its message will come once more" in caplog.text
    assert max(record.levelno for record in caplog.records) == logging.WARNING
