"""Work of the `market` queue."""

import logging
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings

from accounts import clock
from accounts.exceptions import BrokerError, CredentialError
from accounts.stopping import WorkerStops
from market import backfill as backfilling
from market import bar_partitions, chain_history, gap_refill, gaps, refresh
from market.exceptions import ImportAlreadyRunning, MarketError

logger = logging.getLogger(__name__)

RETRY_SECONDS = 60
TRIES = 5


@shared_task(
    bind=True,
    autoretry_for=(BrokerError, CredentialError),
    default_retry_delay=RETRY_SECONDS,
    max_retries=TRIES - 1,
)
def refresh_instruments(_self: Any) -> None:
    """Take over the broker's instrument dump; tried again a minute after a failure. Safe to run twice."""
    try:
        refresh.refresh_instruments()
    except ImportAlreadyRunning:
        return  # the other one does what this one was to do


@shared_task(name="market.refresh_instruments_when_due")
def refresh_instruments_when_due() -> None:
    """Every minute: fetch the day's dump if it is time and nobody has. What fails is logged, and tried again then."""
    if not refresh.is_due():
        return
    try:
        refresh.refresh_instruments()
    except ImportAlreadyRunning:
        return
    except (BrokerError, CredentialError, MarketError) as exc:
        logger.warning("the day's instruments are not there yet: %s; tried again in a minute", exc)


@shared_task(name="market.forget_old_chain_minutes")
def forget_old_chain_minutes() -> None:
    """Delete what the settings say is too old of the option chains' history. Once a day; safe to run twice."""
    chain_history.forget_older_than(settings.CHAIN_HISTORY_DAYS)
    chain_history.forget_snapshots_older_than(settings.CHAIN_SNAPSHOT_DAYS)


@shared_task(name="market.keep_bar_months")
def keep_bar_months() -> None:
    """Make the next months of minute bars; drop those that the settings say are too old, and what the ledger of gaps
    has of them. Safe to run twice."""
    bar_partitions.ensure_ahead()
    bar_partitions.drop_older_than(settings.MINUTE_BARS_DAYS)
    gaps.forget_older_than(clock.now() - timedelta(days=settings.MINUTE_BARS_DAYS))


@shared_task(name="market.refill_gaps")
def refill_gaps() -> None:
    """Refill the minute bars of the feed's outages that are over, some instruments at a time. Safe to run twice."""
    gap_refill.refill(most=settings.GAP_REFILL_INSTRUMENTS)


@shared_task(bind=True, name="market.backfill", max_retries=None)
def backfill(task: Any, underlying: str, *, days: int = 30, with_options: bool = False) -> None:
    """Fetch and keep an underlying's minutes. What is stored is not fetched again: safe to run twice."""
    try:
        backfilling.backfill(backfilling.instruments_of(underlying, with_options=with_options), days)
    except WorkerStops:
        raise task.retry(countdown=0) from None
