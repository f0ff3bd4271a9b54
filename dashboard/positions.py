"""What the positions page shows, decided from what the accounts have. Pure: `positions_views` fetches."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from accounts.models import TradingAccount
from dashboard import formats
from orders.drift import Difference
from orders.portfolio import PortfolioView, PositionView

EXTERNAL = "external"  # a kind of difference that is no fault: an order placed elsewhere


@dataclass(frozen=True, slots=True)
class Amount:
    """Rupees as text, and their sign for the colour: `up`, `down` or nothing."""

    text: str
    tone: str


@dataclass(frozen=True, slots=True)
class Line:
    """One position."""

    contract: str
    exchange: str
    product: str
    is_long: bool
    lots: str
    quantity: str
    average: str
    last: str
    is_old: bool  # the price is not of now, so that it makes no result
    open_pnl: Amount
    booked: Amount
    delta: str
    is_closed: bool
    exit_lots: int  # what a ticket would close it with; 0 where it is closed, or is not a whole number of lots


@dataclass(frozen=True, slots=True)
class Group:
    """One account's positions; `notes` say what is not as it should be with them, the worst first."""

    account: TradingAccount
    lines: Sequence[Line]
    total: Amount
    open_pnl: Amount
    booked: Amount
    today: Amount
    delta: str
    read: str
    notes: Sequence[str]
    broker: str
    differences: Sequence[Difference]
    elsewhere: int  # orders that were placed elsewhere today

    @property
    def may_exit(self) -> bool:
        """Whether something is held that could be exited."""
        return any(not line.is_closed for line in self.lines)


@dataclass(frozen=True, slots=True)
class Totals:
    """All accounts together; a sum of which a part is unknown is unknown."""

    total: Amount
    open_pnl: Amount
    booked: Amount
    today: Amount
    positions: int


def group_of(
    account: TradingAccount, view: PortfolioView, lot_sizes: dict[str, int], differences: Iterable[Difference]
) -> Group:
    """Everything about one account.

    Parameters
    ----------
    lot_sizes : by `exchange:tradingsymbol`; 1 where a quantity is not counted in lots
    """
    found = list(differences)
    lines = [_line(one, lot_sizes.get(f"{one.exchange}:{one.tradingsymbol}", 1)) for one in view.positions]
    lines.sort(key=lambda line: line.is_closed)
    deltas = [one.delta for one in view.positions]
    known = [delta for delta in deltas if delta is not None]
    return Group(
        account=account,
        lines=lines,
        total=amount(view.pnl),
        open_pnl=amount(view.open_pnl),
        booked=amount(view.booked),
        today=amount(view.day_pnl),
        delta=signed(sum(known), 1) if len(known) == len(deltas) and view.is_of_today else formats.DASH,
        read=_read(view),
        notes=list(_notes(view)),
        broker=_broker(view),
        differences=[one for one in found if one.kind != EXTERNAL],
        elsewhere=sum(one.kind == EXTERNAL for one in found),
    )


def totals_of(views: Sequence[PortfolioView]) -> Totals:
    return Totals(
        total=amount(_sum([view.pnl for view in views])),
        open_pnl=amount(_sum([view.open_pnl for view in views])),
        booked=amount(_sum([view.booked for view in views])),
        today=amount(_sum([view.day_pnl for view in views])),
        positions=sum(bool(one.quantity) for view in views for one in view.positions),
    )


def amount(value: Decimal | None) -> Amount:
    """`+₹1,394`, `−₹962`; an unknown amount is a dash."""
    if value is None:
        return Amount(formats.DASH, "")
    size = formats.grouped(float(abs(value)), 0)
    if size == "0":
        return Amount("₹0", "")
    return Amount(f"{'+' if value > 0 else formats.MINUS}₹{size}", "up" if value > 0 else "down")


def signed(value: float, decimals: int) -> str:
    return formats.signed_grouped(value, decimals) if value else "0"


def _line(one: PositionView, lot_size: int) -> Line:
    lots, rest = divmod(abs(one.quantity), max(lot_size, 1))
    sign = "+" if one.quantity > 0 else formats.MINUS
    in_lots = f"{sign}{lots} {'lot' if lots == 1 else 'lots'}" if lot_size > 1 and not rest else ""
    return Line(
        contract=one.tradingsymbol,
        exchange=one.exchange,
        product=one.product,
        is_long=one.quantity > 0,
        lots=in_lots if one.quantity else "",
        quantity=signed(one.quantity, 0),
        average=formats.price(float(one.average_price)) if one.quantity else formats.DASH,
        last=formats.DASH if one.last_price is None else formats.price(float(one.last_price)),
        is_old=not one.price_is_fresh,
        open_pnl=amount(one.open_pnl) if one.quantity else Amount(formats.DASH, ""),
        booked=amount(one.booked) if one.booked else Amount(formats.DASH, ""),
        delta=formats.DASH if one.delta is None or not one.quantity else signed(one.delta, 1),
        is_closed=not one.quantity,
        exit_lots=0 if rest else lots,
    )


def _read(view: PortfolioView) -> str:
    if view.age_seconds is None:
        return "never read"
    age = view.age_seconds
    return f"read {age:.0f} s ago" if age < 100 else f"read {formats.duration(age)} ago"


def _notes(view: PortfolioView) -> Iterable[str]:
    if view.read_at is None:
        yield "The positions were never read: the account is not logged in, or has just been taken on."
        return
    if not view.is_of_today:
        yield "These are of an earlier day: there are no sums before they are read today."
    if view.doubts:
        yield (
            "The broker’s latest answer lacks what is known, and is not believed yet; these are from before: "
            + "; ".join(view.doubts)
            + "."
        )
    if view.failure and (view.failed_at is None or view.failed_at > view.read_at):
        yield f"The last try to read them failed: {view.failure}."
    if view.is_outdated:
        yield "Something was filled since they were read; they are read again in a moment."


def _broker(view: PortfolioView) -> str:
    """The broker's own figure beside ours, and how far apart they are."""
    if view.read_at is None or not view.positions or not view.is_of_today:
        return ""
    theirs = _sum([one.broker_pnl for one in view.positions])
    if theirs is None or view.pnl is None:
        return ""
    apart = abs(theirs - view.pnl)
    return f"The broker’s own figure was {amount(theirs).text} when read, ₹{formats.grouped(float(apart), 2)} apart."


def _sum(amounts: Sequence[Decimal | None]) -> Decimal | None:
    known = [one for one in amounts if one is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None
