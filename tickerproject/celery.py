"""The Celery application. PostgreSQL is the queue of record; Celery only carries ids and may lose or repeat them."""

import logging
import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # missing in the stubs
from celery.signals import setup_logging
from kombu.transport import redis

logger = logging.getLogger(__name__)
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")

# It warns of pickled messages under root; ours are JSON, and containers run as an ordinary user.
warnings.filterwarnings("ignore", category=SecurityWarning)


class _Channel(redis.Channel):
    """kombu's, that also knows that its connection is lost once kombu has let go of it.

    kombu 5.7 gives back unacknowledged messages, and acknowledges what a task has done meanwhile, on channels that have
    no connection any more. That ends in an AttributeError, and that in the end of the worker, with the orders in its
    hands. What was not acknowledged is given out again after its timeout; our tasks bear that.
    """

    @property
    def _is_lost(self) -> bool:
        return self.connection is None or self.connection.client is None

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self._is_lost:
            raise ConnectionError("the channel's connection was lost")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]  # missing in the stubs

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        if self._is_lost:
            logger.warning("Redis was lost while a task was carried out: its message will come once more")
        else:
            super().basic_ack(delivery_tag, multiple=multiple)


redis.Transport.Channel = _Channel

app = Celery("ticker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery would replace the log configuration (and with it the redaction); a receiver here stops it."""
