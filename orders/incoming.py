"""Order updates of the broker's sockets: taken over as they come, and where they raise a question the book is read.

The socket is the account's own, so that what comes through it is the broker's word; but it may come late, twice or in
another order (`orders.broker_orders` sorts that out), and it does not say of which order a slice is a part.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from django.db.models.functions import Now

from accounts.models import TradingAccount
from orders.broker_orders import Unreadable, our_tag, record_broker_update
from orders.metrics import TEXT_FRAMES
from orders.models import OrderTask, PortfolioReading
from orders.states import Status

logger = logging.getLogger(__name__)

SOURCE = "socket"


def take_updates(account_id: int, updates: Sequence[Any]) -> None:
    """Take over what came through a socket of the account, in the order in which it came. Safe to repeat.

    What cannot be read, or is of somebody else, changes nothing: the account's book is read soon.

    Raises
    ------
    django.db.Error
        The database is away; some of them may have been taken over.
    """
    account = TradingAccount.objects.get(pk=account_id)
    results = [_take(account, update) for update in updates]
    for result in results:
        TEXT_FRAMES.labels(result).inc()
    if any(result in _QUESTIONS for result in results):
        PortfolioReading.want(account)


def want_reading(account_id: int) -> None:
    """Have the account's book, trades and positions read within seconds: news of it were lost, or may have been."""
    PortfolioReading.want(TradingAccount.objects.get(pk=account_id))


_QUESTIONS = frozenset({"unreadable", "other_user", "surprise"})


def _take(account: TradingAccount, update: Any) -> str:
    """What became of one, in a word for the metric."""
    if not isinstance(update, Mapping):
        return "unreadable"
    if update.get("user_id") not in (None, "", account.kite_user_id):
        logger.error("%s: its socket tells of an order of %.20r", account.kite_user_id, update.get("user_id"))
        return "other_user"
    try:
        record_broker_update(account, update, source=SOURCE)
    except Unreadable as exc:
        logger.error("%s: an order update cannot be read: %s", account.kite_user_id, exc)
        return "unreadable"
    return "surprise" if is_surprise(account, update) else "taken"


def is_surprise(account: TradingAccount, row: Mapping[str, Any]) -> bool:
    """Whether an order is an orphan, or of a task that was given up: the whole book tells, and adopts it.

    A task of unknown outcome is looked up at once, now that its order was heard of.
    """
    tag = our_tag(row)
    if not tag:
        return False
    task = OrderTask.objects.filter(account=account, tag=tag).only("pk", "status").first()
    if task is None or task.status in (Status.FAILED, Status.DEAD_LETTER):
        return True
    if task.status == Status.UNKNOWN:
        due = OrderTask.objects.filter(pk=task.pk, status=Status.UNKNOWN, recon_after__gt=Now())
        due.update(recon_after=Now())
    return False
