"""What every call to the broker goes through: budget, breaker, place, the call, and the report of how it went.

For an order, budget and breaker come before the mark that it may have been sent, and so before this client: they are
the business of `orders`, and here an order only takes its place.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from django.conf import settings

from accounts import breaker
from accounts.breaker import Group, Outcome, Permit, breaker_name
from accounts.broker.places import take_place
from accounts.budget import Go, acquire_data, freeze_data
from accounts.budget_limits import RouteClass
from accounts.exceptions import (
    BrokerError,
    BudgetExhausted,
    NotSent,
    OutcomeUnknown,
    PlacesTaken,
    RateLimited,
)

ORDER_ROUTES = frozenset({"order.place", "order.modify", "order.cancel"})


@dataclass(frozen=True, slots=True)
class Caller:
    """For whom a client calls. `urgent`: cancels, exits and the reads that settle unknown orders.

    They may take the kept place, and go through an open breaker.
    """

    account: str  # Kite user id
    api_key: str
    urgent: bool = False

    def __repr__(self) -> str:
        return f"Caller({self.account}, …{self.api_key[-4:]})"


def route_class_of(route: str) -> RouteClass:
    """What the broker counts a call as, by the official client's name of its route."""
    if route in ORDER_ROUTES:
        return RouteClass.ORDERS
    if route == "market.quote" or route.startswith("market.quote."):
        return RouteClass.QUOTE
    return RouteClass.HISTORICAL if route == "market.historical" else RouteClass.OTHER


def group_of(route: str) -> Group:
    """Which breaker a call belongs to."""
    if route_class_of(route) is RouteClass.ORDERS:
        return Group.ORDERS
    return Group.SESSION if route.startswith("api.") else Group.DATA


@contextmanager
def guarded(caller: Caller, route: str) -> Iterator[None]:
    """Run one call in the block. Its `BrokerError` passes through, and is reported first. Raises as `GuardedCall`."""
    call = GuardedCall(caller, route)
    try:
        yield
    except BaseException as exc:
        call.end(exc)
        raise
    call.end()


class GuardedCall:
    """A call that may be made, for what outlives a block: a streamed answer. `end` may be called twice.

    Raises
    ------
    BudgetExhausted, PlacesTaken, BreakerOpen
        Within `KITE_PATIENCE_SECONDS`, with the time to come again: nothing may be sent.
    """

    def __init__(self, caller: Caller, route: str) -> None:
        give_up_at = time.monotonic() + settings.KITE_PATIENCE_SECONDS
        self._caller = caller
        self._route_class = route_class_of(route)
        self._permit: Permit | None = None
        if self._route_class is not RouteClass.ORDERS:
            _charge(caller, self._route_class, give_up_at)
            self._permit = breaker.ask(breaker_name(caller.account, group_of(route)), urgent=caller.urgent)
        try:
            self.place = take_place(
                caller.account,
                patience_seconds=max(0.0, give_up_at - time.monotonic()),
                may_use_kept=caller.urgent or route == "order.cancel",
            )
        except PlacesTaken:
            self._report(Outcome.NEITHER)  # a probe that was not sent must not hold up the next one
            raise

    def end(self, exc: BaseException | None = None) -> None:
        """Free the place and report; `exc` is how the call failed."""
        self.place.release()
        self._report(outcome_of(exc))
        if isinstance(exc, RateLimited) and self._route_class is not RouteClass.ORDERS:
            freeze_data(self._caller.api_key, self._route_class, exc.retry_after_seconds)

    def _report(self, outcome: Outcome) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            breaker.report(permit, outcome)


def outcome_of(exc: BaseException | None) -> Outcome:
    """What the end of a call says about the broker's health.

    A refusal, of a dead token too, is an answer. "Too many requests" is about us, and neither for nor against.
    """
    match exc:
        case None:
            return Outcome.OK
        case OutcomeUnknown():
            return Outcome.FAILED if exc.is_fault else Outcome.OK
        case NotSent():
            return Outcome.FAILED
        case RateLimited():
            return Outcome.NEITHER
        case BrokerError():
            return Outcome.OK
        case _:
            return Outcome.NEITHER


def _charge(caller: Caller, route_class: RouteClass, give_up_at: float) -> None:
    while True:
        answer = acquire_data(caller.api_key, route_class)
        if isinstance(answer, Go):
            return
        if time.monotonic() + answer.seconds > give_up_at:
            app = f"app …{caller.api_key[-4:]}"
            reason = (
                f"the broker asked {app} to wait"
                if answer.window == "frozen"
                else f"the {route_class} calls of {app} are used up for this {answer.window}"
            )
            raise BudgetExhausted(reason, retry_after_seconds=answer.seconds)
        time.sleep(answer.seconds)
