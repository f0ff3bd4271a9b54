"""What an account has, as last read, and what it is worth at the prices of this moment. What is not known is None."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db import connection

from accounts import clock
from accounts.models import TradingAccount
from market.exceptions import PricesUnavailable
from market.models import Instrument
from market.prices import MarketPrice, prices_of
from orders.models import PortfolioReading, Position
from orders.reading_times import database_now, is_wanted

READINGS_MISSED = 10
"""So many intervals of `ORDER_SYNC_SECONDS` may pass before a reading says nothing about this moment any more."""
_PLACES = Decimal("0.0001")

Marks = Mapping[str, MarketPrice]
"""Prices by `exchange:tradingsymbol`, of what the stream carries."""


@dataclass(frozen=True, slots=True)
class PositionView:
    """One position in rupees. `booked` is the result of what was closed, `open_pnl` of what is still held.

    `pnl` is both together; `day_pnl` counts what was carried from its last close. The broker's own figures are those
    of the moment of reading.
    """

    exchange: str
    tradingsymbol: str
    product: str
    quantity: int
    overnight_quantity: int
    day_quantity: int
    multiplier: Decimal
    average_price: Decimal
    last_price: Decimal | None
    price_age_seconds: float | None
    price_is_fresh: bool
    booked: Decimal
    open_pnl: Decimal | None
    pnl: Decimal | None
    day_pnl: Decimal | None
    delta: float | None  # of the whole position, in units of its underlying
    underlying: str
    broker_last_price: Decimal
    broker_pnl: Decimal
    broker_day_pnl: Decimal


@dataclass(frozen=True, slots=True)
class PortfolioView:
    """All positions of an account, and how far they can be trusted.

    `is_outdated`: something has been filled since they were read; they are about to be read again. `doubts`: why the
    broker's latest answer was not believed, these being from before. `read_at` is None if they never were read, and
    there are no sums without a reading of today.
    """

    positions: Sequence[PositionView]
    read_at: datetime | None
    age_seconds: float | None
    is_of_today: bool
    is_outdated: bool
    doubts: Sequence[str]
    failed_at: datetime | None
    failure: str
    booked: Decimal | None
    open_pnl: Decimal | None
    pnl: Decimal | None
    day_pnl: Decimal | None


@dataclass(frozen=True, slots=True)
class Held:
    """The signed quantity that an account had at `known_at`: as read, and what was filled since."""

    quantity: int
    known_at: datetime


def positions(account: TradingAccount) -> PortfolioView:
    """The positions as last read, worth what fresh prices say. Redis away, or a feed that is stale: no open results."""
    rows = list(Position.objects.filter(account=account))
    reading = PortfolioReading.objects.filter(account=account).first() or PortfolioReading(account=account)
    instruments = Instrument.objects.by_symbols(_symbol(row) for row in rows)
    marks = _marks(instruments)
    views = [view_of(row, marks.get(_symbol(row)), instruments.get(_symbol(row))) for row in rows]
    is_of_today = reading.read_at is not None and reading.trading_date == clock.today()
    return PortfolioView(
        positions=views,
        read_at=reading.read_at,
        age_seconds=None if reading.read_at is None else (database_now() - reading.read_at).total_seconds(),
        is_of_today=is_of_today,
        is_outdated=is_wanted(reading),
        doubts=reading.doubts,
        failed_at=reading.failed_at,
        failure=reading.failure,
        booked=_sum([view.booked for view in views]) if is_of_today else None,
        open_pnl=_sum([view.open_pnl for view in views]) if is_of_today else None,
        pnl=_sum([view.pnl for view in views]) if is_of_today else None,
        day_pnl=_sum([view.day_pnl for view in views]) if is_of_today else None,
    )


def view_of(row: Position, price: MarketPrice | None, instrument: Instrument | None) -> PositionView:
    """One position at a price. A price that is not fresh makes no result, but of what is closed already."""
    last = price.last_price if price is not None and price.is_fresh else None
    booked = booked_of(row)
    worth = worth_of(row, last)
    pnl = None if worth is None else row.value + worth
    carried = row.overnight_quantity * row.close_price * row.multiplier
    return PositionView(
        exchange=row.exchange,
        tradingsymbol=row.tradingsymbol,
        product=row.product,
        quantity=row.quantity,
        overnight_quantity=row.overnight_quantity,
        day_quantity=row.day_quantity,
        multiplier=row.multiplier,
        average_price=row.average_price,
        last_price=price.last_price if price is not None else None,
        price_age_seconds=price.age_seconds if price is not None else None,
        price_is_fresh=last is not None,
        booked=booked,
        open_pnl=None if pnl is None else pnl - booked,
        pnl=pnl,
        day_pnl=None if worth is None else row.day_sell_value - row.day_buy_value - carried + worth,
        delta=delta_of(row, price, instrument),
        underlying=instrument.name if instrument is not None else "",
        broker_last_price=row.last_price,
        broker_pnl=row.pnl,
        broker_day_pnl=row.m2m,
    )


def booked_of(row: Position) -> Decimal:
    """The result of what was both bought and sold, at average prices."""
    closed = min(row.buy_quantity, row.sell_quantity)
    if not closed:
        return Decimal(0)
    each = row.sell_value / row.sell_quantity - row.buy_value / row.buy_quantity
    return (closed * each).quantize(_PLACES)


def worth_of(row: Position, price: Decimal | None) -> Decimal | None:
    """What the open quantity would bring, negative where it was sold; nothing is worth nothing at any price."""
    if not row.quantity:
        return Decimal(0)
    return None if price is None else (row.quantity * price * row.multiplier).quantize(_PLACES)


def delta_of(row: Position, price: MarketPrice | None, instrument: Instrument | None) -> float | None:
    """In units of the underlying. None without a fresh Greek; a future and a share have one of 1."""
    if not row.quantity:
        return 0.0
    each = unit_delta(instrument, price)
    return None if each is None else row.quantity * float(row.multiplier) * each


def unit_delta(instrument: Instrument | None, price: MarketPrice | None) -> float | None:
    """The delta of one unit of an instrument; None if it is not known at this moment."""
    if instrument is None:
        return None
    if not instrument.is_option:
        return 1.0
    return price.delta if price is not None and price.is_fresh else None


def day_pnl(account: TradingAccount) -> Decimal | None:
    """What all positions together have gained since the last close, booked and open, in rupees.

    None if they were not read today or too long ago, or if an open one has no fresh price.
    """
    found = positions(account)
    return found.day_pnl if is_recent(found.age_seconds) else None


def net_delta(account: TradingAccount) -> float | None:
    """The deltas of all positions together, each in units of its underlying. None if one of them is not known."""
    found = positions(account)
    deltas = [view.delta for view in found.positions]
    if not (found.is_of_today and is_recent(found.age_seconds)) or None in deltas:
        return None
    return sum(delta for delta in deltas if delta is not None)


def net_deltas(account: TradingAccount) -> dict[str, float | None]:
    """The same by underlying; None of one in which a delta is not known."""
    found: dict[str, float | None] = {}
    for view in positions(account).positions:
        before = found.get(view.underlying, 0.0)
        found[view.underlying] = None if before is None or view.delta is None else before + view.delta
    return found


_HELD = """
with told as (
  select orders.filled_quantity as filled, orders.transaction_type as side,
         coalesce((select sum(trade.quantity) from orders_trade as trade
                    where trade.account_id = orders.account_id and trade.order_id = orders.order_id), 0) as traded
    from orders_brokerorder as orders
   where orders.account_id = %(account)s and orders.exchange = %(exchange)s
     and orders.tradingsymbol = %(tradingsymbol)s and orders.product = %(product)s
     and (orders.order_timestamp is null or orders.order_timestamp >= %(since)s) and orders.filled_quantity > 0)
select coalesce((select sum(quantity * case when transaction_type = 'BUY' then 1 else -1 end) from orders_trade
                  where account_id = %(account)s and exchange = %(exchange)s and tradingsymbol = %(tradingsymbol)s
                    and product = %(product)s and trading_date = %(today)s), 0),
       coalesce((select sum(greatest(filled - traded, 0) * case when side = 'BUY' then 1 else -1 end) from told), 0),
       statement_timestamp()
"""


def held(account: TradingAccount, exchange: str, tradingsymbol: str, product: str) -> Held | None:
    """What the account has of it now: as last read, and what its orders have been filled since.

    None if the positions were not read today or too long ago, or if what was filled since cannot be told from what was
    filled before: then they are read again within seconds.
    """
    reading = PortfolioReading.objects.filter(account=account).first()
    if reading is None or reading.read_at is None or reading.trading_date != clock.today():
        return None
    key = {"exchange": exchange, "tradingsymbol": tradingsymbol, "product": product}
    row = Position.objects.filter(account=account, **key).first()
    today = clock.today()
    begins = datetime.combine(today, time.min, clock.IST)
    values: dict[str, Any] = key | {"account": account.pk, "today": today, "since": begins}
    with connection.cursor() as cursor:
        cursor.execute(_HELD, values)
        traded, since, now = cursor.fetchone()
    if not is_recent((now - reading.read_at).total_seconds()):
        return None
    quantity, day_quantity = (row.quantity, row.day_quantity) if row is not None else (0, 0)
    # Trades and positions are read one after the other. Where they do not add up, something was filled in between, or
    # was converted to another product: only a reading after which nothing happened can be taken as it is.
    if traded == day_quantity:
        return Held(quantity + int(since), now)
    return None if is_wanted(reading) else Held(quantity, now)


def open_quantity(account: TradingAccount, exchange: str, tradingsymbol: str, product: str) -> int | None:
    """The same as a number, negative where it was sold; 0 if there is none."""
    found = held(account, exchange, tradingsymbol, product)
    return None if found is None else found.quantity


def is_recent(age_seconds: float | None) -> bool:
    return age_seconds is not None and age_seconds <= READINGS_MISSED * float(settings.ORDER_SYNC_SECONDS)


def _marks(instruments: Mapping[str, Instrument]) -> Marks:
    try:
        found = prices_of(instruments.values())
    except PricesUnavailable:
        return {}
    return {symbol: found[one.pk] for symbol, one in instruments.items() if one.pk in found}


def _symbol(row: Position) -> str:
    return f"{row.exchange}:{row.tradingsymbol}"


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    """None if one of them is: half of a sum is no sum."""
    return None if None in amounts else sum((one for one in amounts if one is not None), Decimal(0))
