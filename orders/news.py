"""What happens to orders as numbered rows, which is what the WebSocket sends and a client resumes from.

Triggers write a row in the transaction of each change (`orders/migrations/0006_order_news.py`), so that none can be
forgotten. Transactions do not commit in the order of their primary keys: who has read row 7 may see row 6 appear
afterwards. So rows get their numbers (`seq`, from 1 in each account, without gaps) only after they have committed, by
whoever reads next, one at a time per account: a reader that has all up to a number will never miss a lower one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from django.db import connection, models, transaction
from django.db.models.functions import Now

from accounts.models import TradingAccount

MOST_AT_ONCE = 5_000


class Kind(models.TextChoices):
    TASK = "task"
    BROKER_ORDER = "broker_order"
    TRADING_STATE = "trading_state"


class OrderNews(models.Model):
    """One change of a task, of an order at the broker, or of the kill switch. Changed once: when it gets its number."""

    account = models.ForeignKey(TradingAccount, on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=15, choices=Kind)
    reference = models.CharField(max_length=64, help_text="The task's id, the broker's order id, or what is stopped.")
    payload = models.JSONField()
    at = models.DateTimeField(db_default=Now())
    seq = models.PositiveBigIntegerField(null=True, blank=True)

    class Meta:
        ordering = ["account", "seq"]
        constraints = [models.UniqueConstraint(fields=["account", "seq"], name="orders_news_seq")]
        indexes = [
            models.Index(fields=["account", "id"], condition=models.Q(seq=None), name="orders_news_unnumbered"),
            models.Index(fields=["at"], name="orders_news_age"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.reference}"


class OrderNewsHead(models.Model):
    """The latest number of an account's news; locked by whoever gives out the next ones."""

    account = models.OneToOneField(TradingAccount, on_delete=models.CASCADE, related_name="+")
    seq = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"news of {self.account} up to {self.seq}"


@dataclass(frozen=True, slots=True)
class News:
    """A row as it is read; `account_id` is the account's primary key."""

    account_id: int
    seq: int
    kind: Kind
    reference: str
    payload: Mapping[str, Any]
    at: datetime


# --- numbers ---------------------------------------------------------------------------------------------------------

_HEADS = """
insert into orders_ordernewshead (account_id, seq)
select distinct account_id, 0 from orders_ordernews where seq is null
on conflict (account_id) do nothing
"""
# In one order, so that two who number do not wait for each other.
_LOCK = """
select account_id from orders_ordernewshead
 where account_id in (select account_id from orders_ordernews where seq is null)
 order by account_id for update
"""
# A statement of its own, after the lock: it sees what whoever held the lock before has numbered.
_NUMBER = """
with fresh as (
  select news.id, head.account_id, head.seq + row_number() over (partition by news.account_id order by news.id) as seq
    from orders_ordernews as news join orders_ordernewshead as head using (account_id)
   where news.seq is null and news.account_id = any(%s)),
numbered as (
  update orders_ordernews as news set seq = fresh.seq from fresh where news.id = fresh.id
  returning news.account_id, news.seq)
update orders_ordernewshead as head set seq = latest.seq
  from (select account_id, max(seq) as seq from numbered group by account_id) as latest
 where head.account_id = latest.account_id
"""


def give_numbers() -> None:
    """Number what has committed since the last time. Any number of processes may do it at once.

    Within an account by the order in which the rows were written: what happens to one task, or one order, is written
    one after the other, so that its news are never turned round.
    """
    if not OrderNews.objects.filter(seq=None).exists():
        return
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_HEADS)
        cursor.execute(_LOCK)
        accounts = [account_id for (account_id,) in cursor.fetchall()]
        if accounts:
            cursor.execute(_NUMBER, [accounts])


# --- reading ---------------------------------------------------------------------------------------------------------

_AFTER = """
select news.account_id, news.seq, news.kind, news.reference, news.payload::text, news.at
  from orders_ordernews as news
  join unnest(%s::bigint[], %s::bigint[]) as reader (account_id, seq)
    on news.account_id = reader.account_id and news.seq > reader.seq
 order by news.account_id, news.seq limit %s
"""


def news_after(positions: Mapping[int, int], *, most: int = MOST_AT_ONCE) -> list[News]:
    """The rows after each account's number, in order, all accounts in one query.

    Parameters
    ----------
    positions : the last number that the reader has, by the account's primary key
    """
    if not positions:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_AFTER, [list(positions), list(positions.values()), most])
        return [
            News(account_id, seq, Kind(kind), reference, orjson.loads(payload), at)
            for account_id, seq, kind, reference, payload, at in cursor.fetchall()
        ]


def heads(account_ids: Iterable[int]) -> dict[int, int]:
    """The latest number of each account; 0 where nothing has happened."""
    wanted = dict.fromkeys(account_ids, 0)
    found = OrderNewsHead.objects.filter(account__in=wanted).values_list("account_id", "seq")
    return wanted | dict(found)


def can_resume(account_id: int, last_seq: int) -> bool:
    """Whether every row after `last_seq` is still there.

    Not if some were cleared away meanwhile, nor if the number was never given out (by this database).
    """
    head = heads([account_id])[account_id]
    if last_seq >= head:
        return last_seq == head
    return OrderNews.objects.filter(account=account_id, seq=last_seq + 1).exists()


# --- housekeeping ----------------------------------------------------------------------------------------------------


def clear_old(keep: timedelta) -> int:
    """Delete numbered rows that are older. How many. What has no number yet is still to be read by somebody."""
    cleared = 0
    while True:
        old = OrderNews.objects.filter(at__lt=Now() - keep, seq__isnull=False).order_by("pk")
        some = list(old.values_list("pk", flat=True)[:MOST_AT_ONCE])
        if not some:
            return cleared
        cleared += OrderNews.objects.filter(pk__in=some).delete()[0]
