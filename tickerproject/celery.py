"""The Celery application. PostgreSQL is the queue of record; Celery only carries ids and may lose or repeat them."""

import os
import warnings
from typing import Any

from celery import Celery
from celery.platforms import SecurityWarning  # type: ignore[attr-defined]  # missing in the stubs
from celery.signals import setup_logging

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")

# It warns of pickled messages under root; ours are JSON, and containers run as an ordinary user.
warnings.filterwarnings("ignore", category=SecurityWarning)

app = Celery("ticker")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@setup_logging.connect
def _keep_our_logging(**_: Any) -> None:
    """Celery would replace the log configuration (and with it the redaction); a receiver here stops it."""
