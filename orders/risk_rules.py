"""The rules of risk, each a sentence with its figures. Pure: whoever asks gathers `RiskFacts` (`orders.exposure`).

Exits are held against fewer of them: a limit must never keep somebody in a position.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from market.prices import MarketPrice
from orders.checks import Check
from orders.limits import Limits, ScopedLimits
from orders.requests import AT_MARKET, HAS_TRIGGER, OrderRequest
from orders.rupees import rupees
from orders.validation import notional

# A share of a price of a few paise is less than a tick: so far an order may always go.
LEAST_BAND = Decimal("0.50")
ITEM_BEFORE = "item before"  # a twin that is of the same batch, and has no id yet


@dataclass(frozen=True, slots=True)
class Usage:
    """What an account, or a strategy of it, has under way. Money in rupees."""

    open_notional: Decimal = Decimal(0)
    orders_in_last_minute: int = 0


@dataclass(frozen=True, slots=True)
class OpenPosition:
    """What can still be exited: the signed quantity, and how much of it other exits have been sent for."""

    quantity: int
    exits_under_way: int = 0


@dataclass(frozen=True, slots=True)
class Stopped:
    """A trading state in force that is not active."""

    scope: str
    state: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RiskFacts:
    """What is known at this moment; None: it is not known.

    `usage` is by strategy, the whole account's under the empty name. `net_delta` and `order_delta` are in units of the
    underlyings, signed. `position` is asked for exits only.
    """

    limits: Sequence[ScopedLimits] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    price: MarketPrice | None = None
    stopped: Stopped | None = None
    day_pnl: Decimal | None = None
    net_delta: float | None = None
    order_delta: float | None = None
    position: OpenPosition | None = None
    twin: str = ""


# What a rule about one's own orders bears on: a new order, and a change, which is no new one.
def checks_of(request: OrderRequest, facts: RiskFacts, *, is_change: bool = False) -> list[Check]:
    """Every rule that bears on the order, those that passed too."""
    checks = [state(request, facts.stopped, is_change=is_change)]
    if not is_change:
        checks.append(duplicate(request, facts.twin))
    checks.extend(market_price(request, facts.price))
    checks.extend(price_band(request, facts.limits, facts.price))
    if request.is_exit:
        checks.append(really_exits(request, facts.position))
        return checks
    return [*checks, *figures(request, facts, is_change=is_change)]


def figures(request: OrderRequest, facts: RiskFacts, *, is_change: bool = False) -> Iterator[Check]:
    """The limits on what an entry adds."""
    worth = notional(request, facts.price)
    yield from quantity(request, facts.limits)
    yield from order_notional(request, facts.limits, worth)
    yield from open_notional(request, facts.limits, facts.usage, worth)
    if not is_change:
        yield from orders_per_minute(facts.limits, facts.usage)
    yield from day_loss(facts.limits, facts.day_pnl)
    yield from net_delta(facts.limits, facts.net_delta, facts.order_delta)


def state(request: OrderRequest, stopped: Stopped | None, *, is_change: bool = False) -> Check:
    if stopped is None:
        return Check("trading_halted", True, "Trading is not stopped.")
    if request.is_exit and not is_change:
        return Check("trading_halted", True, f"Trading is {stopped.state} ({stopped.scope}); exits go out.")
    why = f" ({stopped.reason})" if stopped.reason else ""
    return Check(
        "trading_halted",
        False,
        f"Trading is {stopped.state} for {stopped.scope}{why}: only exits and cancels go out.",
        {"scope": stopped.scope, "state": stopped.state},
    )


def duplicate(request: OrderRequest, twin: str) -> Check:
    if not twin:
        return Check("duplicate", True, "No order like it came just before.")
    like = "an item before it" if twin == ITEM_BEFORE else f"order {twin} of a moment ago"
    if request.allow_duplicate:
        return Check("duplicate", True, f"It is like {like}, which allow_duplicate allows.")
    return Check(
        "duplicate",
        False,
        f"It is like {like}: the same symbol, side, quantity and price. If both are meant, send allow_duplicate.",
        {"order": twin},
    )


def market_price(request: OrderRequest, price: MarketPrice | None) -> Iterator[Check]:
    """An order at the market's price needs to know what that is."""
    if request.order_type not in AT_MARKET:
        return
    if price is not None and price.is_fresh and price.last_price is not None:
        yield Check("market_price", True, f"{request.symbol} trades at {price.last_price}.")
        return
    what = "is old" if price is not None and price.last_price is not None else "is not known"
    if request.is_exit:
        yield Check("market_price", None, f"The price of {request.symbol} {what}; an exit goes out all the same.")
        return
    yield Check(
        "market_price",
        False,
        f"The price of {request.symbol} {what}, so that nobody can say what a {request.order_type} order would cost: "
        "send a LIMIT order, or subscribe to it and try again.",
        {"last_price": _text(price.last_price if price else None), "age_seconds": price.age_seconds if price else None},
    )


def price_band(request: OrderRequest, limits: Sequence[ScopedLimits], price: MarketPrice | None) -> Iterator[Check]:
    """A price far beyond the market, on the side that costs money, is a slip of the hand.

    A buyer's low price or a seller's high one waits, and costs nothing. A stop is measured from its trigger: that is
    where the market is by the time it is an order.
    """
    tightest = _tightest(limits, "price_band_percent")
    if tightest is None or not request.price:
        return
    percent, scope = tightest
    reference, what = _reference(request, price)
    if reference is None:
        yield Check(
            "price_band", None, f"No price of {request.symbol} is known, so that the price cannot be held against one."
        )
        return
    room = max(reference * percent / 100, LEAST_BAND)
    bound = reference + room if request.is_buy else reference - room
    fits = request.price <= bound if request.is_buy else request.price >= bound
    side, word = ("above", "at most") if request.is_buy else ("below", "at least")
    told = {
        "price": _text(request.price),
        "reference": _text(reference),
        "bound": _text(bound),
        "percent": _text(percent),
    }
    if fits:
        yield Check("price_band", True, f"{_text(request.price)} is within {_text(percent)} % of the {what}.", told)
        return
    old = price is None or not price.is_fresh
    if request.is_exit and old and request.order_type not in HAS_TRIGGER:
        yield Check("price_band", None, f"{_text(request.price)} is far from the {what}, which is old.", told)
        return
    yield Check(
        "price_band",
        False,
        f"{_text(request.price)} is more than {_text(percent)} % {side} the {what} of {_text(reference)} "
        f"(limit of {scope}): {word} {_text(bound)}.",
        told,
    )


def really_exits(request: OrderRequest, position: OpenPosition | None) -> Check:
    """A halt must not be walked around by calling an entry an exit."""
    if position is None:
        return Check(
            "exit_of_position",
            False,
            f"The positions of the account are not known, so that nobody can say whether this is an exit of "
            f"{request.symbol}: read them anew (sync), or flatten.",
        )
    left = max(abs(position.quantity) - position.exits_under_way, 0)
    is_against = position.quantity < 0 if request.is_buy else position.quantity > 0
    told = {
        "quantity": request.quantity,
        "position": position.quantity,
        "exits_under_way": position.exits_under_way,
        "at_most": left if is_against else 0,
    }
    if is_against and request.quantity <= left:
        return Check("exit_of_position", True, f"It takes {request.quantity} of {abs(position.quantity)} off.", told)
    whole = f"The {request.product} position in {request.symbol} is {position.quantity}"
    if not is_against:
        message = f"{whole}: a {request.transaction_type} does not make it smaller, and is no exit."
    else:
        sent = f", of which {position.exits_under_way} are on their way out" if position.exits_under_way else ""
        message = f"{whole}{sent}: an exit of {request.quantity} is more than the {left} that are left."
    return Check("exit_of_position", False, message, told)


def quantity(request: OrderRequest, limits: Sequence[ScopedLimits]) -> Iterator[Check]:
    if (tightest := _tightest(limits, "max_quantity")) is None:
        return
    most, scope = tightest
    told = {"quantity": request.quantity, "most": int(most)}
    yield _at_most("max_quantity", request.quantity <= most, f"{request.quantity} units", f"{most}", scope, told)


def order_notional(request: OrderRequest, limits: Sequence[ScopedLimits], worth: Decimal | None) -> Iterator[Check]:
    if (tightest := _tightest(limits, "max_notional")) is None:
        return
    most, scope = tightest
    if worth is None:
        yield Check("max_notional", None, _worth_unknown(request, most))
        return
    told = {"notional": _text(worth), "most": _text(most)}
    yield _at_most("max_notional", worth <= most, f"An order of {rupees(worth)}", rupees(most), scope, told)


def open_notional(
    request: OrderRequest, limits: Sequence[ScopedLimits], usage: Mapping[str, Usage], worth: Decimal | None
) -> Iterator[Check]:
    bounds = [(each.limits.max_open_notional, each) for each in limits]
    known = [(most, each) for most, each in bounds if most is not None]
    if not known:
        return
    if worth is None:
        yield Check("max_open_notional", None, _worth_unknown(request, min(most for most, _ in known)))
        return
    most, each = min(known, key=lambda one: one[0] - _used(usage, one[1]).open_notional)
    before = _used(usage, each).open_notional
    words = f"{rupees(worth)} with the {rupees(before)} of orders that are open already"
    told = {"notional": _text(worth), "open": _text(before), "most": _text(most)}
    yield _at_most("max_open_notional", before + worth <= most, words, rupees(most), each.scope, told)


def orders_per_minute(limits: Sequence[ScopedLimits], usage: Mapping[str, Usage]) -> Iterator[Check]:
    bounds = [(each.limits.max_orders_per_minute, each) for each in limits]
    known = [(most, each) for most, each in bounds if most is not None]
    if not known:
        return
    most, each = min(known, key=lambda one: one[0] - _used(usage, one[1]).orders_in_last_minute)
    before = _used(usage, each).orders_in_last_minute
    told = {"orders_in_last_minute": before, "most": most}
    words = f"{before} orders in the last minute, and this one"
    yield _at_most("orders_per_minute", before < most, words, str(most), each.scope, told)


def day_loss(limits: Sequence[ScopedLimits], day_pnl: Decimal | None) -> Iterator[Check]:
    if (tightest := _tightest(limits, "max_day_loss")) is None:
        return
    most, scope = tightest
    if day_pnl is None:
        yield Check("max_day_loss", None, f"The day's result is not known; the limit is a loss of {rupees(most)}.")
        return
    told = {"day_pnl": _text(day_pnl), "most": _text(most)}
    words = f"A loss of {rupees(-day_pnl)} today" if day_pnl < 0 else f"A gain of {rupees(day_pnl)} today"
    yield _at_most("max_day_loss", -day_pnl < most, words, f"a loss of {rupees(most)}", scope, told)


def net_delta(limits: Sequence[ScopedLimits], before: float | None, change: float | None) -> Iterator[Check]:
    """What makes the sum smaller passes, however large it is."""
    if (tightest := _tightest(limits, "max_net_delta")) is None:
        return
    most, scope = tightest
    if before is None or change is None:
        yield Check("max_net_delta", None, f"The net delta is not known; the limit is {_text(most)}.")
        return
    after = before + change
    told = {"before": round(before, 2), "after": round(after, 2), "most": _text(most)}
    fits = abs(after) <= most or abs(after) <= abs(before)
    yield _at_most("max_net_delta", fits, f"A net delta of {after:,.0f} after the order", _text(most), scope, told)


def with_entries_ahead(usage: Mapping[str, Usage], ahead: Sequence[OrderRequest]) -> Mapping[str, Usage]:
    """As if the entries of `ahead` were under way too; what they are worth at the market's price is not known here."""
    found = dict(usage)
    for request in ahead:
        if request.is_exit:
            continue
        worth = notional(request, None) or Decimal(0)
        for strategy in {"", request.strategy}:
            before = found.get(strategy, Usage())
            found[strategy] = Usage(before.open_notional + worth, before.orders_in_last_minute + 1)
    return found


def with_exits_ahead(request: OrderRequest, position: OpenPosition, ahead: Sequence[OrderRequest]) -> OpenPosition:
    """As if the exits of `ahead` from the same position were under way too."""

    def of(one: OrderRequest) -> tuple[object, ...]:
        return one.exchange, one.tradingsymbol, one.product, one.transaction_type

    more = sum(one.quantity for one in ahead if one.is_exit and of(one) == of(request))
    return OpenPosition(position.quantity, position.exits_under_way + more)


def is_twin(params: Mapping[str, object], other: Mapping[str, object]) -> bool:
    """Whether two orders are of the same symbol, side, quantity and prices."""
    return all(params.get(name) == other.get(name) for name in _TWIN_FIELDS)


_TWIN_FIELDS = ("exchange", "tradingsymbol", "transaction_type", "quantity", "price", "trigger_price")


def _reference(request: OrderRequest, price: MarketPrice | None) -> tuple[Decimal | None, str]:
    if request.order_type in HAS_TRIGGER and request.trigger_price:
        return request.trigger_price, "trigger"
    if price is None:
        return None, ""
    if price.last_price is not None:
        return price.last_price, "last price" if price.is_fresh else "last known price"
    return price.close, "previous close"


def _tightest(limits: Sequence[ScopedLimits], name: str) -> tuple[Decimal, str] | None:
    found = [(Decimal(value), each.scope) for each in limits if (value := _figure(each.limits, name)) is not None]
    return min(found, key=lambda one: one[0], default=None)


def _figure(limits: Limits, name: str) -> Decimal | int | None:
    value: Decimal | int | None = getattr(limits, name)
    return value


def _used(usage: Mapping[str, Usage], each: ScopedLimits) -> Usage:
    return usage.get(each.strategy, Usage())


def _at_most(code: str, fits: bool, words: str, most: str, scope: str, told: Mapping[str, object]) -> Check:
    message = f"{words}: within {most}." if fits else f"{words}: above the {most} that {scope} may have."
    return Check(code, fits, message, told)


def _worth_unknown(request: OrderRequest, most: Decimal) -> str:
    return f"What {request.quantity} of {request.symbol} are worth is not known; the limit is {rupees(most)}."


def _text(value: Decimal | None) -> str:
    return "" if value is None else f"{value.normalize():f}"
