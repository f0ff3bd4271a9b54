"""What no worker looks after: leases that ran out, tasks whose time is over, tries used up, outcomes to be looked up.

Each change is one conditional UPDATE, so any number of sweeps may run at once. Alone it also carries tasks out, which
is what `manage.py run_orderpump` does where no doorbell rings.
"""

import logging
from collections.abc import Iterable
from datetime import timedelta

from django.db.models import F
from django.db.models.functions import Now

from accounts import clock
from accounts.models import TradingAccount
from accounts.prepared import prepared_cursor
from orders import ledger, trips
from orders.models import OrderTask
from orders.reconcile import reconcile
from orders.states import Status

logger = logging.getLogger(__name__)

ACTOR = "sweep"
MOST_AT_ONCE = 500


def sweep() -> None:
    """One pass over what needs nobody but the database."""
    end_leases()
    _end_expired()
    _end_tried_too_often()
    _end_unknown_of_another_day()
    trips.look()


def accounts_with_unknown() -> list[TradingAccount]:
    """Accounts with an outcome that is due to be looked up."""
    due = OrderTask.objects.unknown().filter(recon_after__lte=Now(), trading_date=clock.today())
    return list(TradingAccount.objects.filter(pk__in=due.values("account")).select_related("app"))


_HAS_WORK = """
select 1 from orders_ordertask
 where account_id = %s and status in ('pending', 'retrying')
   and run_after <= statement_timestamp() and valid_until > statement_timestamp()
 limit 1
"""


def has_work(account: TradingAccount) -> bool:
    """Whether a task of the account is due."""
    with prepared_cursor() as cursor:
        cursor.execute(_HAS_WORK, [account.pk])
        return cursor.fetchone() is not None


def accounts_with_work(*, waiting_seconds: float = 0.0) -> list[TradingAccount]:
    """Accounts with a task that has been due for so long."""
    due = OrderTask.objects.runnable().filter(
        run_after__lte=Now() - timedelta(seconds=waiting_seconds), valid_until__gt=Now()
    )
    return list(TradingAccount.objects.filter(pk__in=due.values("account")).select_related("app"))


def reconcile_all() -> int:
    """Look up every outcome that is due. How many were settled."""
    return sum(reconcile(account) for account in accounts_with_unknown())


def end_leases() -> None:
    """A worker that is gone: without the mark nothing was sent; with it, nobody knows."""
    over = OrderTask.objects.filter(status=Status.RUNNING, lease_until__lt=Now())
    for task in _some(over.filter(send_started_at__isnull=True)):
        ledger.settle(
            task,
            Status.RETRYING,
            actor=ACTOR,
            reason="lease_over_before_sending",
            evidence={"worker": task.lease_owner},
            run_after=ledger.NOW,
        )
    for task in _some(over.filter(send_started_at__isnull=False)):
        moved = ledger.settle(
            task,
            Status.UNKNOWN,
            actor=ACTOR,
            reason="lease_over_after_mark",
            evidence={"worker": task.lease_owner},
            error_code="worker_lost",
            error_message="The worker was lost after it had begun to send.",
            unknown_since=ledger.NOW,
            recon_after=ledger.NOW,
            absent_reads=0,
            absent_since=None,
        )
        if moved:
            logger.warning("task %s: its worker was lost after the mark; the broker's book decides", task.public_id)


def _end_expired() -> None:
    for task in _some(OrderTask.objects.runnable().filter(valid_until__lte=Now())):
        ledger.settle(
            task,
            Status.FAILED,
            actor=ACTOR,
            reason="expired",
            evidence={},
            error_code="expired",
            error_message=f"It was not sent before its time was over. {task.error_message}".strip()[:500],
        )


def _end_tried_too_often() -> None:
    tired = OrderTask.objects.filter(status=Status.RETRYING, attempts__gte=F("max_attempts"))
    for task in _some(tired):
        moved = ledger.settle(
            task,
            Status.DEAD_LETTER,
            actor=ACTOR,
            reason="attempts_used_up",
            evidence={"attempts": task.attempts, "last_error": task.error_code},
        )
        if moved:
            logger.critical("task %s was tried %d times and needs a person", task.public_id, task.attempts)


def _end_unknown_of_another_day() -> None:
    """The book in which they could be found is gone, and today's says nothing of them: a person has to decide."""
    for task in _some(OrderTask.objects.unknown().filter(trading_date__lt=clock.today())):
        moved = ledger.settle(
            task,
            Status.DEAD_LETTER,
            actor=ACTOR,
            reason="unresolved",
            evidence={"why": "its trading day is over", "absent_reads": task.absent_reads},
            error_code="unresolved",
            error_message="Its trading day is over, and the broker's book of that day did not settle it.",
        )
        if moved:
            logger.critical(
                "task %s needs a person: its trading day ended before its outcome was known", task.public_id
            )


def _some(tasks: Iterable[OrderTask]) -> list[OrderTask]:
    return list(tasks[:MOST_AT_ONCE])  # type: ignore[index]
