"""The bell of news: it tells readers in other processes that there is something to read, once it has committed.

It may be lost, or ring for nothing: readers look every second anyway.
"""

import contextlib
from functools import partial
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models.signals import post_save

from accounts.shared_scripts import RedisAway, publish
from orders.models import BrokerOrder, TradingState

EVERYTHING = "*"


def channel() -> str:
    return f"{settings.REDIS_PREFIX}:order-news"


def connect() -> None:
    """Ring whenever a row is saved that a trigger makes news of; for events of tasks the ledger rings."""
    for model, name in ((BrokerOrder, "broker order"), (TradingState, "trading state")):
        post_save.connect(_on_save, sender=model, dispatch_uid=f"orders.news_bell {name}")


def ring_after_commit(account_id: int | None) -> None:
    """`None`: what is news to every account."""
    # Robust: a bell that cannot be rung must not make an error of what has happened.
    transaction.on_commit(partial(_ring, account_id), robust=True)


def _on_save(instance: BrokerOrder | TradingState, **_: Any) -> None:
    ring_after_commit(instance.account_id)


def _ring(account_id: int | None) -> None:
    with contextlib.suppress(RedisAway):  # told by whoever depends on it
        publish(channel(), EVERYTHING if account_id is None else str(account_id))
