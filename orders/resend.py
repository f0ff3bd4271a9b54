"""Sending an order again that the broker provably never had: only where the account's owner has asked for it.

Absence alone is not enough. Whoever sent it may be held up and send it yet, so its process must provably have ended.
"""

from collections.abc import Mapping
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from orders import ledger, senders
from orders.models import OrderTask
from orders.states import Operation, Status

RESENT = frozenset({Operation.PLACE, Operation.EXIT})
"""A sliced order may be there in part: it is never sent again as a whole."""


def may_be_sent_again(task: OrderTask) -> bool:
    """Whether an order that was proven absent may be sent again: asked for, in time, tries left, its sender gone."""
    if Operation(task.operation) not in RESENT:
        return False
    allowed = OrderTask.objects.filter(
        pk=task.pk, account__may_resend=True, valid_until__gt=Now(), attempts__lt=F("max_attempts")
    )
    return allowed.exists() and senders.has_ended(task.lease_owner)


def send_again(task: OrderTask, *, actor: str, evidence: Mapping[str, Any]) -> bool:
    """Put it back under the same tag, so that a second order would show. Whether it still was as it was read."""
    return ledger.settle(
        task,
        Status.RETRYING,
        actor=actor,
        reason="absent_and_sent_again",
        evidence=dict(evidence) | {"sender": senders.process_of(task.lease_owner)},
        run_after=ledger.NOW,
        send_started_at=None,
        unknown_since=None,
        absent_since=None,
        absent_reads=0,
    )
