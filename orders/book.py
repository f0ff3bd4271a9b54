"""Reading an account's order book: whole or not at all, taken over as it is, and looked through for late arrivals."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models.functions import Now

from accounts import clock
from accounts.breaker import BreakerState, Group, breaker_name, states
from accounts.broker import orders_client
from accounts.models import TradingAccount
from accounts.prepared import prepared_cursor
from orders.arrivals import look_through
from orders.broker_orders import record_book, root_of
from orders.models import OrderBook, OrderTask
from orders.states import PLACING, Operation, Status

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Book:
    """One whole reading. `lacks` are orders that are known and not in it: then it is old, and proves nothing."""

    rows: Sequence[Row]
    lacks: frozenset[str]
    breaker_is_open: bool

    @property
    def ids(self) -> frozenset[str]:
        """Of the orders in it, and of those that its slices are slices of."""
        return frozenset(str(row["order_id"]) for row in self.rows) | frozenset(map(root_of, self.rows))

    @property
    def proves_absence(self) -> bool:
        return not self.lacks and not self.breaker_is_open


def read_book(account: TradingAccount) -> Book:
    """The broker's order book, taken over as it is; late arrivals are adopted and orphans told.

    Raises
    ------
    BrokerError, CredentialError
    """
    known = _known_ids(account)  # before reading: what is accepted meanwhile may be missing from it
    readable = record_book(account, orders_client(account, urgent=True).book())
    name = breaker_name(account.kite_user_id, Group.ORDERS)
    is_open = states([name])[name] is BreakerState.OPEN
    book = Book(readable, frozenset(known - {str(row["order_id"]) for row in readable}), is_open)
    if book.lacks:
        logger.error("%s: the order book lacks %d known orders: it is old", account.kite_user_id, len(book.lacks))
    OrderBook.objects.update_or_create(
        account=account,
        defaults={
            "trading_date": clock.today(),
            "read_at": Now(),
            "orders": len(readable),
            "is_stale": bool(book.lacks),
            "lacks": sorted(book.lacks),
        },
    )
    look_through(account, readable)
    return book


_HAS_BOOK = "select 1 from orders_orderbook where account_id = %s and trading_date = %s and not is_stale"


def has_book_of_today(account: TradingAccount) -> bool:
    """Whether the book was read, whole and not old, on this trading date: before that nothing may be sent."""
    with prepared_cursor() as cursor:
        cursor.execute(_HAS_BOOK, [account.pk, clock.today()])
        return cursor.fetchone() is not None


def _known_ids(account: TradingAccount) -> frozenset[str]:
    """The orders of today that the broker has told us it took, but for sliced ones: the book may not have their own id.

    Of those only slices show, and none where all were refused.
    """
    return frozenset(
        OrderTask.objects.filter(
            account=account,
            trading_date=clock.today(),
            status=Status.COMPLETED,
            operation__in=sorted(PLACING - {Operation.AUTOSLICE}),
        )
        .exclude(broker_order_id="")
        .values_list("broker_order_id", flat=True)
    )
