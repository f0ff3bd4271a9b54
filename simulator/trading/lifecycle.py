"""An order's way from state to state, at the broker and at the exchange."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulator.clock import Clock
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.trading import matching, protection
from simulator.trading.account import Account
from simulator.trading.floor import Floor
from simulator.trading.hours import TradingHours
from simulator.trading.identifiers import Identifiers
from simulator.trading.limits import OrderLimits
from simulator.trading.listings import Listings
from simulator.trading.making import OrderMaker
from simulator.trading.matching import Fill
from simulator.trading.means import lack_of
from simulator.trading.misfortunes import Misfortunes
from simulator.trading.mishaps import Mishap, Nothing
from simulator.trading.orders import Order, Status, Trade
from simulator.trading.terms import OrderType, Terms, Validity, Variety

logger = logging.getLogger(__name__)

UPDATE = "UPDATE"  # told of a partial fill or a modification; no status of the book
Later = Callable[[float, Callable[[], None]], object]


def on_the_loop(seconds: float, action: Callable[[], None]) -> object:
    """Do it so many seconds later in the running event loop; also after 0 seconds not before the caller is done."""
    return asyncio.get_running_loop().call_later(seconds, action)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An order that the broker has taken.

    `arrived_at` is when its request came in (system time); `sent` is false for what no client has asked for.
    """

    order: Order
    arrived_at: float
    sent: bool


class Lifecycle:
    """Every order of every account. Belongs to the event loop.

    `on_event` is told each order with the word for what has happened to it: a status, or UPDATE. `mishap_of` says what
    shall befall a new one.
    """

    def __init__(
        self,
        accounts: Mapping[str, Account],
        listings: Listings,
        hours: TradingHours,
        rules: Rules,
        clock: Clock,
        system_clock: Callable[[], float],
        order_seconds: float,
        later: Later,
    ) -> None:
        self.accepted: list[Accepted] = []
        self.on_event: Callable[[Order, str], None] = lambda order, event: None
        self.mishap_of: Callable[[Order], Mishap] = lambda order: Nothing()
        self._misfortunes = Misfortunes(self, accounts, listings, system_clock, later)
        self.floor = Floor(listings.market)
        self.limits = OrderLimits(system_clock, cools_down=rules.order_cool_down)
        self._ids = Identifiers(system_clock)
        self.making = OrderMaker(listings, self._ids, clock)
        self._accounts = accounts
        self._listings = listings
        self._hours = hours
        self._rules = rules
        self._clock = clock
        self._system_clock = system_clock
        self._order_seconds = order_seconds
        self._later = later
        self._with_ttl: dict[str, Order] = {}
        self.changes = 0  # grows with whatever happens to an order

    def state(self) -> dict[str, Any]:
        """What was taken, and where the ids have got to; the orders themselves are the accounts'."""
        return {"accepted": list(self.accepted), "ids": self._ids.state()}

    def go_on(self, state: dict[str, Any]) -> None:
        """Take up every live order where it was: what was on its way goes on, what rested rests."""
        self.accepted[:] = state["accepted"]
        self._ids.go_on(state["ids"])
        for order in [order for account in self._accounts.values() for order in account.live.values()]:
            if order.terms.validity is Validity.TTL:
                self._with_ttl[order.order_id] = order
            self._take_up(order)

    def _take_up(self, order: Order) -> None:
        match order.status:
            case Status.OPEN | Status.TRIGGER_PENDING:
                self.floor.add(order)
            case Status.RECEIVED:
                self._after_step(order, self.validate)
            case Status.VALIDATION_PENDING:
                self._after_step(order, self._check_means)
            case Status.OPEN_PENDING:
                self._after_step(order, self._reach_exchange)
            case Status.CANCEL_PENDING:
                self._after_step(order, self._carry_out_cancel)
            case Status.MODIFY_VALIDATION_PENDING | Status.MODIFY_PENDING | Status.MODIFIED:
                self._after_step(order, self._wait_or_trade)  # on its old terms: the new ones were on their way
            case _:
                pass  # stored for the next session

    def forget(self) -> None:
        """All orders, also those on their way."""
        for order in [order for account in self._accounts.values() for order in account.live.values()]:
            order.status = Status.CANCELLED
        self.accepted.clear()
        self.floor.follow(self._listings.market)
        self.limits.new_day()
        self._misfortunes.forget()
        self._with_ttl.clear()

    # --- taking it --------------------------------------------------------------------------------------------------

    def count(self, user_id: str) -> None:
        """One more order of the day. Raises Refused."""
        if self._rules.rate_limits:
            self.limits.count_orders(user_id)

    def take(self, order: Order, arrived_at: float | None = None, *, sent: bool = True) -> None:
        """The order exists from here on. Raises Refused where a mishap or the account's means say no at once.

        Without `arrived_at` it is the broker's own doing, at this moment.
        """
        mishap = self._misfortunes.before(order) if sent else Nothing()
        arrived_at = self._system_clock() if arrived_at is None else arrived_at
        account = self._accounts[order.user_id]
        account.orders[order.order_id] = account.live[order.order_id] = order
        self.accepted.append(Accepted(order, arrived_at, sent))
        self.enter(order, Status.RECEIVED)
        if self._rules.funds_refused_at_once and (lack := lack_of(account, order, self._listings)) is not None:
            self.reject(order, lack.message, lack.raw)
            raise Refused(400, lack.error_type, lack.message)
        if self._misfortunes.lets_begin(order, mishap, arrived_at):
            self._after_step(order, self.validate)

    # --- from state to state ----------------------------------------------------------------------------------------

    def enter(self, order: Order, status: Status) -> None:
        self.changes += 1
        order.entered(status, self._system_clock())

    def _after_step(self, order: Order, then: Callable[[Order], None], seconds: float | None = None) -> None:
        self._later(self._order_seconds if seconds is None else seconds, partial(self._go_on, order, then))

    def pass_through(self, order: Order, status: Status, then: Callable[[Order], None]) -> None:
        """Enter a passing status and go on from it after a while, or at once where orders take no time."""
        self.enter(order, status)
        stuck_seconds = self._misfortunes.stuck_seconds(order)
        if stuck_seconds is not None:
            self._after_step(order, then, stuck_seconds)
        elif self._order_seconds > 0:
            self._after_step(order, then)
        else:
            self._go_on(order, then)

    def _go_on(self, order: Order, then: Callable[[Order], None]) -> None:
        if not order.status.is_final:  # something else may have ended it meanwhile
            then(order)

    def validate(self, order: Order) -> None:
        """The broker begins to look at it."""
        self.pass_through(order, Status.VALIDATION_PENDING, self._check_means)

    def _check_means(self, order: Order) -> None:
        account = self._accounts[order.user_id]
        if (lack := lack_of(account, order, self._listings)) is not None:
            self.reject(order, lack.message, lack.raw)
            return
        account.block(order, account.need_of(order, self._listings.last_price(order.listing)))
        is_amo = order.terms.variety is Variety.AMO
        if is_amo and not self._hours.is_open(order.terms.exchange, self._clock.timestamp()):
            self.enter(order, Status.AMO_RECEIVED)
        else:
            self.send_to_exchange(order)

    def send_to_exchange(self, order: Order) -> None:
        self.pass_through(order, Status.OPEN_PENDING, self._reach_exchange)

    def _reach_exchange(self, order: Order) -> None:
        self._name_at_exchange(order)
        if order.terms.validity is Validity.TTL:
            self._with_ttl[order.order_id] = order
        self._wait_or_trade(order)

    def _name_at_exchange(self, order: Order) -> None:
        if order.exchange_order_id is None:
            order.exchange_order_id = self._ids.exchange_order(order.terms.exchange)
        order.exchange_at = order.exchange_updated_at = self._clock.timestamp()

    def _wait_or_trade(self, order: Order) -> None:
        """At the exchange: wait for the trigger, or meet the depth."""
        terms = order.terms
        if terms.order_type.has_trigger and not order.is_triggered:
            last_price, _ = self.floor.last_trade(order.listing.row)
            if not matching.is_triggered(terms.transaction_type, last_price, terms.trigger_price):
                self.enter(order, Status.TRIGGER_PENDING)
                self.floor.add(order)
                self.on_event(order, Status.TRIGGER_PENDING)
                return
            order.is_triggered = True
        self._open(order)

    def _open(self, order: Order) -> None:
        self.enter(order, Status.OPEN)
        row, side = order.listing.row, order.terms.transaction_type
        fills = matching.sweep(side, self.floor.levels(row, side), order.pending_quantity, order.limit)
        self.floor.take(row, side, fills)
        if not fills:
            self.on_event(order, Status.OPEN)
        self._fill(order, fills)
        if order.status.is_final:
            return
        if order.terms.validity is Validity.IOC:
            self.end(order, Status.CANCELLED)
            return
        if order.limit is None:  # nothing left to take: what remains waits where the market is
            order.limit = fills[-1].price if fills else self.floor.last_trade(row)[0]
        self.floor.add(order)

    def _fill(self, order: Order, fills: Iterable[Fill]) -> None:
        """Enter trades, and the order's new state."""
        account, now, has_traded = self._accounts[order.user_id], self._clock.timestamp(), False
        for fill in fills:
            trade_id = self._ids.trade(order.terms.exchange)
            account.enter(Trade(trade_id, order, fill.price, fill.quantity, now, self._system_clock()))
            has_traded = True
        if not has_traded:
            return
        order.exchange_updated_at = now
        if order.pending_quantity:
            self.enter(order, Status.OPEN)
            self.on_event(order, UPDATE)
        else:
            self.end(order, Status.COMPLETE)

    def end(self, order: Order, status: Status) -> None:
        """The one way into a final status."""
        account = self._accounts[order.user_id]
        if status is Status.CANCELLED:
            order.cancelled_quantity = order.pending_quantity
        if order.exchange_order_id is not None:
            order.exchange_updated_at = self._clock.timestamp()
        self.floor.remove(order)
        self._with_ttl.pop(order.order_id, None)
        self._misfortunes.are_over(order)
        account.live.pop(order.order_id, None)
        account.block(order, {})
        self.enter(order, status)
        self.on_event(order, status)
        if (follower := self.making.follower(order)) is not None:
            try:
                self.count(order.user_id)
                self.take(follower, sent=False)
            except Refused as refusal:
                logger.info("the order after %s was refused: %s", order.order_id, refusal.message)

    def reject(self, order: Order, message: str, raw: str) -> None:
        order.status_message, order.status_message_raw = message, raw
        self.end(order, Status.REJECTED)

    # --- changes ----------------------------------------------------------------------------------------------------

    def change(self, order: Order, terms: Terms) -> None:
        """New terms for an order at the exchange; a trade may come first."""
        self.floor.remove(order)
        self.enter(order, Status.MODIFY_VALIDATION_PENDING)
        carry_out = partial(self._carry_out_change, terms=terms)
        self._after_step(order, partial(self.pass_through, status=Status.MODIFY_PENDING, then=carry_out))

    def _carry_out_change(self, order: Order, terms: Terms) -> None:
        """The exchange takes the new terms, unless the account has not the means."""
        account, before = self._accounts[order.user_id], order.terms
        self._name_at_exchange(order)
        self.enter(order, Status.MODIFIED)
        account.block(order, {})
        order.terms = terms
        if (lack := lack_of(account, order, self._listings)) is not None:
            order.terms = before
            order.status_message, order.status_message_raw = lack.message, lack.raw
        last_price = self._listings.last_price(order.listing)
        account.block(order, account.need_of(order, last_price))
        order.limit = protection.limit_of(order.terms, order.listing, last_price)
        if order.terms.validity is Validity.TTL:
            self._with_ttl[order.order_id] = order
        self.on_event(order, UPDATE)
        self._wait_or_trade(order)

    def cancel(self, order: Order) -> None:
        self.floor.remove(order)
        self.enter(order, Status.CANCEL_PENDING)
        self._after_step(order, self._carry_out_cancel)

    def _carry_out_cancel(self, order: Order) -> None:
        if (filled := self._misfortunes.filled_before_cancel(order)) > 0:
            self.fill_at_its_price(order, filled)
        if not order.status.is_final:
            self.end(order, Status.CANCELLED)

    def exit(self, order: Order) -> None:
        """Close a cover order: its stop becomes a market order."""
        self.change(order, replace(order.terms, order_type=OrderType.MARKET, market_protection=0.0))

    def fill_at_its_price(self, order: Order, quantity: int) -> None:
        """So much trades at the order's limit, whatever the market shows."""
        self._name_at_exchange(order)
        price = order.limit or self._listings.last_price(order.listing)
        self._fill(order, [Fill(price, min(quantity, order.pending_quantity))])

    # --- the market and the clock -----------------------------------------------------------------------------------

    def market_moved(self, rows: NDArray[np.int64]) -> None:
        """These instruments have traded: resting orders meet it."""
        for order in self.floor.moved(rows):
            if order.status is Status.TRIGGER_PENDING:
                self._try_trigger(order)
            elif order.status is Status.OPEN and order.limit is not None:
                self._meet_market(order, order.limit)

    def _try_trigger(self, order: Order) -> None:
        last_price, _ = self.floor.last_trade(order.listing.row)
        if matching.is_triggered(order.terms.transaction_type, last_price, order.terms.trigger_price):
            self.floor.remove(order)
            order.is_triggered = True
            order.exchange_updated_at = self._clock.timestamp()
            self._open(order)

    def _meet_market(self, order: Order, limit: int) -> None:
        row, side, wanted = order.listing.row, order.terms.transaction_type, order.pending_quantity
        levels = self.floor.levels(row, side)
        last_price, last_quantity = self.floor.last_trade(row)
        crossing = matching.sweep(side, levels, wanted, limit)
        fills = matching.rest(side, levels, wanted, limit, last_price=last_price, last_quantity=last_quantity)
        if crossing:
            self.floor.take(row, side, crossing)
        else:
            self.floor.join_trade(row, fills)
        self._fill(order, fills)

    def expire(self, now: float) -> None:
        """End what lives for so many minutes only."""
        for order in [o for o in self._with_ttl.values() if now >= o.placed_at + 60 * o.terms.validity_ttl]:
            if order.status.may_change:
                self.end(order, Status.CANCELLED)
