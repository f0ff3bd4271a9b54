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


class _QoS(redis.QoS):
    def restore_unacked(self, client: Any = None) -> None:
        """Give back what is unacknowledged, unless Redis is lost: there it is given out again after its timeout.

        kombu 5.7 asks for it once more when it has let go of the connection already. The error that comes of it is none
        of a lost connection to Celery, which would end the worker, and cut off the orders in its hands.
        """
        if self.channel.connection.client is not None:
            super().restore_unacked(client)


redis.Channel.QoS = _QoS

app = Celery("ticker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery would replace the log configuration (and with it the redaction); a receiver here stops it."""
