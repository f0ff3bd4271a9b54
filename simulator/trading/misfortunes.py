"""Carries out what a test lets befall orders."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from simulator.refusals import Refused
from simulator.trading import protection
from simulator.trading.account import Account
from simulator.trading.listings import Listings
from simulator.trading.mishaps import Alter, End, FillOnCancel, Hide, Mishap, Refuse, Stick, Twin
from simulator.trading.orders import Order

if TYPE_CHECKING:
    from simulator.trading.lifecycle import Later, Lifecycle

logger = logging.getLogger(__name__)


class Misfortunes:
    """Asked by the lifecycle at each turn of an order's way; where nothing was wished for, it goes on undisturbed."""

    def __init__(
        self,
        lifecycle: "Lifecycle",
        accounts: Mapping[str, Account],
        listings: Listings,
        system_clock: Callable[[], float],
        later: "Later",
    ) -> None:
        self._lifecycle = lifecycle
        self._accounts = accounts
        self._listings = listings
        self._system_clock = system_clock
        self._later = later
        self._waiting: dict[str, Stick | FillOnCancel] = {}

    def forget(self) -> None:
        self._waiting.clear()

    def are_over(self, order: Order) -> None:
        """The order has ended."""
        self._waiting.pop(order.order_id, None)

    def before(self, order: Order) -> Mishap:
        """What shall befall an order that is about to be taken. Raises Refused where that is a refusal."""
        mishap = self._lifecycle.mishap_of(order)
        if isinstance(mishap, Refuse):
            raise Refused(mishap.status, mishap.error_type, mishap.message)
        if isinstance(mishap, Alter):
            self._alter(order, mishap.changes)
        return mishap

    def lets_begin(self, order: Order, mishap: Mishap, arrived_at: float) -> bool:
        """Whether the order goes its way now; what is to come later is arranged for."""
        match mishap:
            case Hide(seconds):
                order.is_hidden = True
                self._later(seconds, partial(self._reveal, order))
                return False
            case Twin(copies, seconds, changes):
                for _ in range(copies):
                    self._later(seconds, partial(self._take_twin, order, changes, arrived_at))
            case End(seconds=seconds):
                self._later(seconds, partial(self._end, order, mishap))
            case Stick() | FillOnCancel():
                self._waiting[order.order_id] = mishap
            case _:
                pass
        return True

    def stuck_seconds(self, order: Order) -> float | None:
        """How long it stays in the status that it has now, None for as long as usual; once."""
        mishap = self._waiting.get(order.order_id)
        if isinstance(mishap, Stick) and mishap.status is order.status:
            del self._waiting[order.order_id]
            return mishap.seconds
        return None

    def filled_before_cancel(self, order: Order) -> int:
        """How much of it trades before a cancel reaches the exchange."""
        mishap = self._waiting.get(order.order_id)
        if not isinstance(mishap, FillOnCancel):
            return 0
        return min(mishap.quantity or order.pending_quantity, order.pending_quantity)

    def _reveal(self, order: Order) -> None:
        if not order.status.is_final:
            order.is_hidden = False
            # Nobody could have seen it before, not even who is shown a book of long ago.
            order.history = [replace(row, at=self._system_clock()) for row in order.history]
            self._lifecycle.validate(order)

    def _alter(self, order: Order, changes: Mapping[str, Any]) -> None:
        """Other terms than were asked for. Raises Refused where they name no instrument of that exchange."""
        symbol = changes.get("tradingsymbol", order.terms.tradingsymbol)
        if (listing := self._listings.find(order.terms.exchange, symbol)) is None:
            raise Refused.input(f"There is no {symbol} to alter the order to.")
        order.listing = listing
        order.terms = replace(order.terms, **changes)
        order.limit = protection.limit_of(order.terms, listing, self._listings.last_price(listing))

    def _take_twin(self, order: Order, changes: Mapping[str, Any], arrived_at: float) -> None:
        if order.order_id not in self._accounts[order.user_id].orders:  # forgotten meanwhile
            return
        twin = self._lifecycle.making.order(order.user_id, order.api_key, order.asked, order.listing)
        try:
            self._alter(twin, changes)
            self._lifecycle.take(twin, arrived_at, sent=False)
        except Refused as refusal:
            logger.warning("a rule's twin of %s was refused: %s", order.order_id, refusal.message)

    def _end(self, order: Order, mishap: End) -> None:
        if mishap.filled_quantity and not order.status.is_final:
            self._lifecycle.fill_at_its_price(order, mishap.filled_quantity)
        if not order.status.is_final:
            order.status_message = order.status_message_raw = mishap.message or None
            self._lifecycle.end(order, mishap.status)
