"""The doorbells of orders. They carry ids only, may be lost or rung twice, and change nothing by themselves."""

import logging
from datetime import timedelta
from functools import partial
from typing import Any

from celery import shared_task
from celery.signals import worker_shutdown
from django.conf import settings
from kombu.exceptions import OperationalError

from accounts.models import TradingAccount
from orders import news, postbacks, senders, sweep, trade_sync
from orders.bells import ring_soon
from orders.execute import DRAIN_SECONDS, drain, may_send, seconds_to_wait

logger = logging.getLogger(__name__)

LEAST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 5.0  # between two turns of an account that has more to do


@worker_shutdown.connect
def _say_that_it_has_ended(**_: Any) -> None:
    """After a warm stop, when no thread of the worker's is left."""
    senders.end_this_process()


@shared_task(name="orders.wake", ignore_result=True)
def wake(account_id: int) -> None:
    """Carry out what is due on the account, and ring again if there is more than one turn of it."""
    account = TradingAccount.objects.select_related("app").filter(pk=account_id).first()
    if account is None or not may_send(account):
        return
    drain(account)
    if sweep.has_work(account):
        # Not before the budget has room: a bell in between would only find the door shut.
        ring(account_id, after_seconds=min(max(seconds_to_wait(account), LEAST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS))


@shared_task(name="orders.sweep", ignore_result=True)
def sweep_orders() -> None:
    """Every two seconds: end what is over, look up what is unknown, ring where something waits. Safe to overlap."""
    sweep.sweep()
    for account in sweep.accounts_with_work():
        ring(account.pk)


@shared_task(name="orders.reconcile", ignore_result=True)
def reconcile_orders() -> None:
    """Look up outcomes in the brokers' books. Safe to overlap."""
    sweep.reconcile_all()


@shared_task(name="orders.tidy_news", ignore_result=True)
def tidy_news() -> None:
    """Number news that nobody reads, and clear away the old ones. Safe to overlap."""
    news.give_numbers()
    news.clear_old(timedelta(days=settings.ORDER_NEWS_DAYS))


def ring(account_id: int, *, after_seconds: float = 0.0) -> None:
    """Ask for a turn of the account, without waiting for Redis. Nothing depends on it being heard."""
    ring_soon(account_id, partial(_ring, wake, account_id, after_seconds))


@shared_task(name="orders.sync", ignore_result=True)
def sync_all() -> None:
    """Every two seconds: ring for accounts whose portfolio is due, and for postbacks that wait. Safe to overlap."""
    for account in trade_sync.accounts_due():
        _ring(sync_account, account.pk)
    for account in postbacks.accounts_waiting():
        _ring(sync_news, account.pk)


@shared_task(name="orders.sync_account", ignore_result=True)
def sync_account(account_id: int) -> None:
    """Read one account's portfolio if it is still due."""
    account = TradingAccount.objects.select_related("app").filter(pk=account_id).first()
    if account is not None:
        trade_sync.sync_if_due(account)


@shared_task(name="orders.sync_news", ignore_result=True)
def sync_news(account_id: int) -> None:
    """Look into the account's postbacks, once a second at most, and ring again while some wait."""
    account = TradingAccount.objects.select_related("app").filter(pk=account_id).first()
    if account is None:
        return
    if postbacks.read_waiting(account):
        ring_for_news(account_id, after_seconds=postbacks.LEAST_SECONDS)
    if trade_sync.is_outdated(account):
        ring_for_sync(account_id)


@shared_task(name="orders.forget_postbacks", ignore_result=True)
def forget_postbacks() -> None:
    """Delete what the settings say is too old. Once a day; safe to run twice."""
    postbacks.forget_older_than(settings.POSTBACK_DAYS)


def ring_for_news(account_id: int, *, after_seconds: float = 0.0) -> None:
    """Ask for the account's postbacks to be looked into. Nothing depends on it being heard."""
    _ring(sync_news, account_id, after_seconds)


def ring_for_sync(account_id: int) -> None:
    """Ask for the account's portfolio to be read, if it is due. Nothing depends on it being heard."""
    _ring(sync_account, account_id)


def _ring(task: Any, account_id: int, after_seconds: float = 0.0) -> None:
    try:
        task.apply_async((account_id,), countdown=after_seconds, expires=DRAIN_SECONDS, retry=False, ignore_result=True)
    except OperationalError as exc:
        logger.warning("no doorbell for account %d: %s; its rows wait", account_id, exc)
