"""The doorbells of orders. They carry ids only, may be lost or rung twice, and change nothing by themselves."""

import logging

from celery import shared_task
from kombu.exceptions import OperationalError

from accounts.models import TradingAccount
from orders import sweep
from orders.execute import DRAIN_SECONDS, drain, may_send

logger = logging.getLogger(__name__)


@shared_task(name="orders.wake", ignore_result=True)
def wake(account_id: int) -> None:
    """Carry out what is due on the account, and ring again if there is more than one turn of it."""
    account = TradingAccount.objects.select_related("app").filter(pk=account_id).first()
    if account is None or not may_send(account):
        return
    drain(account)
    if any(one.pk == account_id for one in sweep.accounts_with_work()):
        ring(account_id, after_seconds=0.05)


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


def ring(account_id: int, *, after_seconds: float = 0.0) -> None:
    """Ask for a turn of the account. Nothing depends on it being heard."""
    try:
        wake.apply_async((account_id,), countdown=after_seconds, expires=DRAIN_SECONDS, retry=False, ignore_result=True)
    except OperationalError as exc:
        logger.warning("no doorbell for account %d: %s; the sweep will find its orders", account_id, exc)
