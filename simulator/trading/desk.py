"""What users ask of the broker: place, modify, cancel, convert; and all of their accounts."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.clock import Clock
from simulator.logins import Access
from simulator.market import Market
from simulator.options import DemoUser
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.trading import matching
from simulator.trading.account import Account
from simulator.trading.checks import MOST_MODIFICATIONS, Checks, slice_quantity
from simulator.trading.hours import TradingHours
from simulator.trading.lifecycle import Later, Lifecycle, on_the_loop
from simulator.trading.listings import Listing, Listings
from simulator.trading.orders import AMO_STORED, Order, Status
from simulator.trading.sessions import Sessions
from simulator.trading.terms import Change, Product, Side, Terms, Variety

_BEING_PROCESSED = "Order cannot be {} as it is being processed. Try later."
_CHANGEABLE_TERMS = (
    "order_type", "quantity", "price", "trigger_price",
    "disclosed_quantity", "validity", "validity_ttl", "market_protection",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Placed:
    """What the client is told. Children, of a sliced order: order ids, and refusals in place of some."""

    order_id: str
    children: tuple[str | Refused, ...] | None = None


class Desk:
    """All accounts of one simulator. Belongs to its event loop.

    `order_seconds` pass between the states of an order; `later` does something that much later.
    """

    def __init__(
        self,
        market: Market,
        rules: Rules,
        users: Iterable[DemoUser],
        clock: Clock,
        system_clock: Callable[[], float],
        *,
        order_seconds: float = 0.0,
        later: Later = on_the_loop,
    ) -> None:
        self.listings = Listings(market)
        self.accounts: dict[str, Account] = {}
        self._users = tuple(users)
        self._open_accounts()
        hours = TradingHours(market.calendar)
        self.lifecycle = Lifecycle(
            self.accounts, self.listings, hours, rules, clock, system_clock, order_seconds, later
        )
        self._sessions = Sessions(self.lifecycle, self.accounts, self.listings, hours, clock, system_clock)
        self._checks = Checks(rules, hours)
        self._rules = rules
        self._clock = clock

    def _open_accounts(self) -> None:
        for user in self._users:
            account = Account.opened(user.user_id, round(user.cash * 100), user.holdings, self.listings)
            self.accounts[user.user_id] = account

    def reset(self) -> None:
        """Begin anew: every account as it was at the start, no orders, none counted."""
        self.lifecycle.forget()
        self._open_accounts()

    def state(self) -> dict[str, Any]:
        """All that a restart must not lose (`simulator.trading.memory`)."""
        return {"accounts": dict(self.accounts), "lifecycle": self.lifecycle.state()}

    def go_on(self, state: dict[str, Any]) -> None:
        """From what `state` gave; users that are new since then keep the account they were opened with."""
        self.accounts.update(state["accounts"])
        self.lifecycle.go_on(state["lifecycle"])

    def account_of(self, access: Access) -> Account:
        return self.accounts[access.user.user_id]

    def count_request(self, access: Access) -> None:
        """One more request about orders. Raises Refused."""
        if self._rules.rate_limits:
            self.lifecycle.limits.count_request(access.user.user_id)

    # --- orders -----------------------------------------------------------------------------------------------------

    def place(self, access: Access, terms: Terms, arrived_at: float) -> Placed:
        """Take an order: it is in the book from now on, and what becomes of it shows there. Raises Refused."""
        listing = self._checks.refuse_unfit(terms, self._listing(terms), self._clock.timestamp(), self.listings)
        if terms.autoslice and terms.quantity > listing.freeze_quantity:
            return self._place_slices(access, terms, listing, arrived_at)
        user_id, api_key, making = access.user.user_id, access.app.api_key, self.lifecycle.making
        self.lifecycle.count(user_id)
        if terms.variety is Variety.ICEBERG:
            order = making.leg(user_id, api_key, terms, listing, 1)
        else:
            order = making.order(user_id, api_key, terms, listing)
        self.lifecycle.take(order, arrived_at)
        return Placed(order.order_id, () if terms.autoslice else None)

    def _listing(self, terms: Terms) -> Listing | None:
        return self.listings.find(terms.exchange, terms.tradingsymbol)

    def _place_slices(self, access: Access, terms: Terms, listing: Listing, arrived_at: float) -> Placed:
        """Each slice is an order of its own; one that is refused does not stop the others."""
        user_id, api_key, making = access.user.user_id, access.app.api_key, self.lifecycle.making
        parent = making.parent_id()
        children: list[str | Refused] = []
        for quantity in matching.slices(terms.quantity, slice_quantity(listing)):
            part = replace(terms, quantity=quantity, autoslice=False)
            try:
                self.lifecycle.count(user_id)
                order = making.child(parent, user_id, api_key, part, listing)
                self.lifecycle.take(order, arrived_at)
            except Refused as refusal:
                children.append(refusal)
            else:
                children.append(order.order_id)
        return Placed(parent, tuple(children))

    def modify(self, access: Access, variety: Variety, order_id: str, change: Change) -> str:
        """Ask for other terms; whether the exchange takes them shows in the book. Raises Refused."""
        order = self._find(access, variety, order_id)
        if not order.status.may_change:
            raise Refused.input(_BEING_PROCESSED.format("modified"))
        if order.modifications >= MOST_MODIFICATIONS:
            raise Refused(400, "NetworkException", "Maximum allowed order modifications exceeded.")
        terms = _changed(order, change)
        if terms.quantity <= order.filled_quantity:
            raise Refused.input("Invalid `quantity`.")
        checked = replace(terms, order_type=terms.order_type.once_triggered) if order.is_triggered else terms
        self._checks.refuse_terms(checked, order.listing, self.listings.last_price(order.listing))
        self._checks.refuse_above_freeze(terms.quantity, order.listing)
        order.modifications += 1
        order.requested_at = self._clock.timestamp()
        if order.status in AMO_STORED:
            order.terms = terms
            self.lifecycle.enter(order, Status.AMO_MODIFIED)
        else:
            self.lifecycle.change(order, terms)
        return order_id

    def cancel(self, access: Access, variety: Variety, order_id: str, parent_order_id: str | None = None) -> str:
        """Ask for its end, or for the exit of a cover order by its second leg. Raises Refused."""
        order = self._find(access, variety, order_id)
        if parent_order_id and order.parent_order_id != parent_order_id:
            raise _no_such_order()
        if not order.status.may_change:
            raise Refused.input(_BEING_PROCESSED.format("cancelled"))
        order.requested_at = self._clock.timestamp()
        if variety is Variety.CO and order.parent_order_id:
            self.lifecycle.exit(order)
        elif order.status in AMO_STORED:
            self.lifecycle.end(order, Status.CANCELLED)
        else:
            self.lifecycle.cancel(order)
        return order_id

    def _find(self, access: Access, variety: Variety, order_id: str) -> Order:
        order = self.find(access, order_id)
        if order.terms.variety is not variety:
            raise _no_such_order()
        return order

    def find(self, access: Access, order_id: str) -> Order:
        """An order of the user's book. Raises Refused."""
        order = self.account_of(access).orders.get(order_id)
        if order is None or order.is_hidden:
            raise _no_such_order()
        return order

    # --- positions --------------------------------------------------------------------------------------------------

    def convert(
        self,
        access: Access,
        listing: Listing,
        old: Product,
        new: Product,
        side: Side,
        quantity: int,
        *,
        overnight: bool,
    ) -> None:
        """Move so much of a position to another product. Raises Refused."""
        account = self.account_of(access)
        key = (listing.exchange, listing.tradingsymbol, old)
        if old is new or (position := account.portfolio.positions.get(key)) is None:
            raise Refused.input("There is no such position to convert.")
        self._checks.refuse_product(new, listing)
        account.portfolio.convert(position, side, quantity, new, overnight=overnight)
        if account.funds(self.listings).net < 0:
            moved = account.portfolio.position(listing, new)
            account.portfolio.convert(moved, side, quantity, old, overnight=overnight)
            raise Refused(400, "MarginException", "Insufficient funds to convert the position.")

    # --- the market and the clock -----------------------------------------------------------------------------------

    def market_moved(self, rows: NDArray[np.int64]) -> None:
        """These instruments have traded."""
        self.lifecycle.market_moved(rows)

    def tick(self) -> None:
        """What time alone brings; to be called often."""
        self.lifecycle.expire(self._clock.timestamp())
        if self._rules.session_checks:
            self._sessions.tick()

    def follow(self, market: Market) -> None:
        """A new trading day."""
        self._sessions.follow(market)


def _no_such_order() -> Refused:
    # The broker's status for it is not known; the official client looks at the body alone.
    return Refused(404, "GeneralException", "Couldn't find that `order_id`.")


def _changed(order: Order, change: Change) -> Terms:
    """The order's terms with what the change asks for, of what its variety lets change."""
    names: tuple[str, ...] = _CHANGEABLE_TERMS
    if order.terms.variety is Variety.CO:
        names = ("trigger_price",) if order.parent_order_id else ("price",)
    elif order.terms.variety is Variety.ICEBERG:
        names = ("price", "quantity")
    wanted: dict[str, Any] = {name: value for name in names if (value := getattr(change, name)) is not None}
    return replace(order.terms, **wanted)
