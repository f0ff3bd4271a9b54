"""Getting out: an exit for each position of an account, what was sold first, in slices that the exchange takes.

The positions are read from the broker at once before. Which slices there are is decided by what is left of each
position after the exits that are under way; with the same key a position is exited once, however often it is asked.
"""

import hashlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from http import HTTPStatus

from accounts import clock
from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Variety
from accounts.exceptions import Refused
from accounts.models import TradingAccount
from market.exceptions import PricesUnavailable
from market.freeze_quantities import freeze_quantity, largest_order
from market.models import Instrument
from market.prices import MarketPrice, prices_of
from orders import exposure, submit, trade_sync
from orders.checks import Check, OrderRefused
from orders.halts import Scope
from orders.models import OrderTask, PortfolioReading, Position
from orders.open_orders import cancel_open
from orders.reading_times import database_now
from orders.requests import OrderRequest
from orders.states import Operation
from orders.submit import Submitted
from orders.validation import IN_LOTS

LONGEST_KEY = 80
BROKERS_OWN_BAND = Decimal(-1)
# Positions of these are not closed by an order of their own, but by the second leg of the one that opened them.
_OF_TWO_LEGS = frozenset({Product.CO, Product.BO})

Key = tuple[str, str, str]
"""Exchange, tradingsymbol and product of a position."""


class PositionsUnknown(Refused):
    """The broker did not say what the account holds, or it cannot be believed: nothing was sent."""

    status_code = HTTPStatus.CONFLICT
    code = "positions_unknown"
    default_message = "The positions could not be read: nothing was sent."


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be flattened, and how. `limit_percent`: limits so far through the last price; None: at the market."""

    only: Collection[Key] | None = None
    limit_percent: Decimal | None = None
    cancels_open: bool = True


@dataclass(frozen=True, slots=True)
class Left:
    """A position as far as no exit has been sent for it, and what is known of its instrument."""

    exchange: str
    tradingsymbol: str
    product: str
    quantity: int  # signed
    lot_size: int = 1
    tick_size: Decimal = Decimal("0.05")
    freeze_quantity: int | None = None
    price: MarketPrice | None = None

    @property
    def key(self) -> Key:
        return self.exchange, self.tradingsymbol, self.product


@dataclass(frozen=True, slots=True)
class RefusedExit:
    """A slice that was not taken on, and why."""

    request: OrderRequest
    checks: Sequence[Check]


@dataclass(frozen=True, slots=True)
class Flattened:
    """What came of it. `left_alone` are positions that no order of their own can close, with the reason."""

    exits: list[Submitted] = field(default_factory=list)
    refused: list[RefusedExit] = field(default_factory=list)
    cancels: list[Submitted] = field(default_factory=list)
    left_alone: list[tuple[Key, str]] = field(default_factory=list)


def flatten(principal: str, account: TradingAccount, wish: Wish, *, key: str) -> Flattened:
    """Take on an exit for each slice of each position, and cancels of our entries in the same instruments before them.

    A slice that is refused stops no other one. Asked again with the same key, what was taken on then is given back;
    positions that no exit was taken on for are tried again.

    Raises
    ------
    PositionsUnknown
        Nothing was stored.
    """
    held = read_positions(account)
    done = Flattened(left_alone=_left_alone(held, wish))
    wanted = [one for one in held if _is_meant(one, wish)]
    before = {one.key: _taken_before(account, key, one.key) for one in wanted}
    fresh = [one for one in wanted if not before[one.key]]
    if wish.cancels_open and fresh:
        of = {(one.exchange, one.tradingsymbol) for one in fresh}
        done.cancels.extend(cancel_open(Scope(account), principal, key=f"{key}:cancel", of=of))
    for tasks in before.values():
        done.exits.extend(Submitted(task, is_new=False) for task in tasks)
    numbers: dict[Key, int] = {}
    for request in plan(left_of(account, fresh), wish.limit_percent):
        of_position = (str(request.exchange), request.tradingsymbol, str(request.product))
        number = numbers[of_position] = numbers.get(of_position, 0) + 1
        try:
            done.exits.append(submit.submit(principal, account, request, key=f"{_part(key, of_position)}{number}"))
        except OrderRefused as exc:
            done.refused.append(RefusedExit(request, exc.failed))
    return done


def preview(account: TradingAccount, wish: Wish) -> list[OrderRequest]:
    """What would be sent, in its order. Raises PositionsUnknown."""
    held = [one for one in read_positions(account) if _is_meant(one, wish)]
    return plan(left_of(account, held), wish.limit_percent)


def read_positions(account: TradingAccount) -> list[Position]:
    """What the account holds, asked of the broker now; without what is closed.

    Raises
    ------
    PositionsUnknown
    """
    began = database_now()
    if not trade_sync.sync(account):
        reading = PortfolioReading.objects.get(account=account)
        # Another reading that began after us may have come in first: then its positions are as new.
        if reading.doubts or reading.read_at is None or reading.read_at < began:
            why = reading.failure or "; ".join(reading.doubts) or "another reading is under way"
            raise PositionsUnknown(f"The positions could not be read ({why[:300]}): nothing was sent.")
    return list(Position.objects.filter(account=account).exclude(quantity=0))


def left_of(account: TradingAccount, held: Iterable[Position]) -> list[Left]:
    """The positions without what exits are under way for, with prices as far as there are any."""
    rows = list(held)
    listed = {
        (one.exchange, one.tradingsymbol): one
        for one in Instrument.objects.active().filter(tradingsymbol__in=[row.tradingsymbol for row in rows])
    }
    try:
        prices: Mapping[int, MarketPrice] = prices_of(listed.values())
    except PricesUnavailable:
        prices = {}
    return [_left(account, row, listed.get((row.exchange, row.tradingsymbol)), prices) for row in rows]


def plan(left: Iterable[Left], limit_percent: Decimal | None) -> list[OrderRequest]:
    """The exits, in the order in which they go out. Pure.

    What was sold is bought back first: it can cost without end, and it frees the margin of the rest.
    """
    in_order = sorted(left, key=lambda one: (one.quantity > 0, one.key))
    return [
        _request(one, quantity, limit_percent)
        for one in in_order
        for quantity in slices(abs(one.quantity), one.freeze_quantity, one.lot_size)
    ]


def slices(quantity: int, freeze: int | None, lot_size: int) -> list[int]:
    """`quantity` in parts of whole lots that the exchange takes as one order each; odd units go with the last one."""
    if quantity <= 0:
        return []
    largest = largest_order(freeze, lot_size) if freeze else quantity
    if largest <= 0:
        return [quantity]
    whole, rest = divmod(quantity, largest)
    return [largest] * whole + ([rest] if rest else [])


def _request(one: Left, quantity: int, limit_percent: Decimal | None) -> OrderRequest:
    buys = one.quantity < 0
    limit = _limit(one, limit_percent, buys=buys)
    return OrderRequest(
        variety=Variety.REGULAR,
        exchange=Exchange(one.exchange),
        tradingsymbol=one.tradingsymbol,
        transaction_type=TransactionType.BUY if buys else TransactionType.SELL,
        quantity=quantity,
        product=Product(one.product),
        order_type=OrderType.MARKET if limit is None else OrderType.LIMIT,
        price=limit,
        market_protection=BROKERS_OWN_BAND if limit is None else None,
        is_exit=True,
        allow_duplicate=True,  # slices are alike
    )


def _limit(one: Left, percent: Decimal | None, *, buys: bool) -> Decimal | None:
    """A price that trades at once, and not worse than it says; None without a current price to go by."""
    price = one.price
    if percent is None or price is None or not price.is_fresh or price.last_price is None:
        return None
    last, tick = price.last_price, one.tick_size
    far = last * (1 + percent / 100) if buys else last * (1 - percent / 100)
    ticks = (far / tick).to_integral_value(ROUND_FLOOR if buys else ROUND_CEILING)
    return max(ticks * tick, tick)


def _left(
    account: TradingAccount, row: Position, instrument: Instrument | None, prices: Mapping[int, MarketPrice]
) -> Left:
    side = TransactionType.BUY if row.quantity < 0 else TransactionType.SELL
    sent = exposure.exits_of(account, row.exchange, row.tradingsymbol, row.product, side)
    still = max(abs(row.quantity) - sent, 0)
    common = (row.exchange, row.tradingsymbol, row.product, still if row.quantity > 0 else -still)
    if instrument is None:
        return Left(*common)
    return Left(
        *common,
        lot_size=1 if row.exchange in IN_LOTS else max(instrument.lot_size, 1),
        tick_size=instrument.tick_size or Decimal("0.05"),
        freeze_quantity=freeze_quantity(instrument, clock.today()),
        price=prices.get(instrument.pk),
    )


def _is_meant(one: Position, wish: Wish) -> bool:
    return one.product not in _OF_TWO_LEGS and (wish.only is None or one.key in wish.only)


def _left_alone(held: Iterable[Position], wish: Wish) -> list[tuple[Key, str]]:
    rows = list(held)
    alone = [
        (one.key, "it is closed by the second leg of its own order")
        for one in rows
        if one.product in _OF_TWO_LEGS and (wish.only is None or one.key in wish.only)
    ]
    missing = set(wish.only or ()) - {one.key for one in rows}
    return alone + [(key, "the account holds none of it") for key in sorted(missing)]


def _part(key: str, of: Key) -> str:
    """What the keys of one position's slices begin with: short, whatever its name."""
    return f"{key}:{hashlib.sha256(':'.join(of).encode()).hexdigest()[:16]}:"


def _taken_before(account: TradingAccount, key: str, of: Key) -> list[OrderTask]:
    tasks = OrderTask.objects.filter(account=account, operation=Operation.EXIT)
    return list(tasks.filter(idempotency_key__startswith=_part(key, of)).order_by("pk"))
