"""The Celery application. PostgreSQL is the queue of record; Celery only carries ids and may lose or repeat them."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # missing in the stubs
from celery.signals import setup_logging
from kombu.transport import redis

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")

# It warns of pickled messages under root; ours are JSON, and containers run as an ordinary user.
warnings.filterwarnings("ignore", category=SecurityWarning)


class _Channel(redis.Channel):
    """kombu's, that also says so as a lost connection when the connection is lost.

    kombu 5.7 gives back unacknowledged messages, and acknowledges what a task has done meanwhile, on channels whose
    connection it has let go of. That ends in an AttributeError, and that in the end of the worker, with the orders in
    its hands. As a lost connection it is logged, and the messages are given out again after their timeout.
    """

    def _connparams(self, asynchronous: bool = False) -> Any:
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the channel's connection was lost")
        return super()._connparams(asynchronous=asynchronous)  # type: ignore[misc]  # missing in the stubs


redis.Transport.Channel = _Channel

app = Celery("ticker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery would replace the log configuration (and with it the redaction); a receiver here stops it."""
