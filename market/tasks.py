"""Work of the `market` queue."""

from typing import Any

from celery import shared_task

from accounts.exceptions import BrokerError, CredentialError
from market import refresh
from market.exceptions import ImportAlreadyRunning

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
