"""Work that the stream leaves to the `market` queue."""

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from kombu.exceptions import OperationalError

from accounts import clock
from accounts.stopping import WorkerStops
from streaming import rebalancing
from streaming.bootstrap import load_what_is_streamed

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60
TRIES = 5
STALE_AFTER_SECONDS = 600


@shared_task(bind=True, name="streaming.load_last_session", default_retry_delay=RETRY_SECONDS, max_retries=TRIES - 1)
def load_last_session(task: Any) -> None:
    """Fetch the last session of what is streamed; what the broker does not answer is asked again. Safe to run twice."""
    try:
        loaded = load_what_is_streamed(most=settings.STREAM_BOOTSTRAP_INSTRUMENTS)
    except WorkerStops:
        raise task.retry(countdown=0, max_retries=None) from None
    if loaded.missing and task.request.retries < task.max_retries:
        raise task.retry()
    for symbol, stretches in loaded.missing.items():
        logger.warning("the last session of %s is not to be had: %s", symbol, stretches[0][2])


def ring_for_last_session() -> None:
    """Have a worker do it. Without a queue it is left: whoever asks for candles has them fetched then."""
    if settings.STREAM_BOOTSTRAP_INSTRUMENTS < 1:
        return
    try:
        load_last_session.apply_async(retry=False, ignore_result=True, expires=STALE_AFTER_SECONDS)
    except OperationalError as exc:
        logger.warning("nobody was told to fetch the last session's candles: %s", exc)


@shared_task(name="streaming.rebalance_strikes")
def rebalance_strikes() -> None:
    """Keep the strikes of rules around the money, where the market is open. Safe to run twice."""
    rebalancing.rebalance_all()


@shared_task(name="streaming.forget_old_strike_moves")
def forget_old_strike_moves() -> None:
    """Delete what the settings say is too old of the ledger of strikes. Once a day; safe to run twice."""
    rebalancing.forget_moves_before(clock.now() - timedelta(days=settings.STRIKE_MOVE_DAYS))
