"""The broker's trades and positions as rows of ours, and whether an answer is to be believed. No I/O.

A dead token, or a copy of the broker's that lags behind, answers with an empty or a shorter list and status 200.
Within a day trades only come, closed positions stay listed with quantity 0, and what was bought or sold today only
grows: an answer that says otherwise is doubted.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import InvalidOperation
from typing import Any

from accounts.clock import IST
from orders.broker_values import Unreadable, moment, money, price, signed, text, whole
from orders.models import Position, Trade

Row = Mapping[str, Any]
TradeKey = tuple[str, str, str]

CARRIED = "NRML"
"""The product that is still a position the next day; others become holdings, or are closed by the broker."""
_MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Known:
    """What was last believed: the positions, of which day they are, and that day's trades."""

    positions: Sequence[Position]
    trading_date: date | None
    trades: Collection[TradeKey]


def positions_of(answer: Mapping[str, Sequence[Row]]) -> list[Position]:
    """The positions of an answer, unsaved and without an account. All of them or none.

    Raises
    ------
    Unreadable
    """
    found = [_position(row) for row in answer["net"]]
    if len({position.key for position in found}) != len(found):
        raise Unreadable("a position stands twice in the answer")
    return found


def trades_of(rows: Iterable[Row], today: date) -> list[Trade]:
    """The trades of an answer, unsaved and without an account. All of them or none.

    Raises
    ------
    Unreadable
    """
    return [_trade(row, today) for row in rows]


def key_of(trade: Trade) -> TradeKey:
    return trade.exchange, trade.order_id, trade.trade_id


def doubts(
    known: Known, positions: Iterable[Position], trades: Iterable[Trade], today: date, *, lacks: Collection[str] = ()
) -> list[str]:
    """Why the answer cannot be right, in words that are the same for the same fault; empty if it can.

    `lacks` are orders that the account's order book has lost.
    """
    told = {position.key: position for position in positions}
    is_same_day = known.trading_date == today
    found = [f"order {order_id} is not in the order book" for order_id in sorted(lacks)]
    for position in sorted(known.positions, key=lambda one: one.key):
        name = f"{position.exchange}:{position.tradingsymbol} {position.product}"
        now = told.get(position.key)
        if not is_same_day:
            if now is None and position.quantity and position.product == CARRIED:
                found.append(f"{name}: {position.quantity} of the day before are not there")
        elif now is None:
            found.append(f"{name} is not there")
        else:
            for side in ("day_buy_quantity", "day_sell_quantity"):
                before, after = getattr(position, side), getattr(now, side)
                if after < before:
                    word = "bought" if side == "day_buy_quantity" else "sold"
                    found.append(f"{name}: {after} {word} today, and it were {before}")
    if is_same_day:
        missing = set(known.trades) - {key_of(trade) for trade in trades}
        found += [f"trade {trade_id} of order {order_id} is not there" for _, order_id, trade_id in sorted(missing)]
    shown = [words[:200] for words in found[:_MOST_SHOWN]]
    return shown if len(found) <= _MOST_SHOWN else [*shown, f"and {len(found) - _MOST_SHOWN} more"]


def _position(row: Row) -> Position:
    try:
        return Position(
            exchange=text(row["exchange"], 10),
            tradingsymbol=text(row["tradingsymbol"], 64),
            product=text(row["product"], 10),
            instrument_token=whole(row.get("instrument_token")),
            quantity=signed(row["quantity"]),
            overnight_quantity=signed(row.get("overnight_quantity")),
            multiplier=price(row.get("multiplier") or 1),
            **{name: price(row.get(name)) for name in ("average_price", "close_price", "last_price")},
            **{name: whole(row.get(name)) for name in _QUANTITIES},
            **{name: money(row.get(name)) for name in _VALUES},
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise Unreadable(f"no position: {type(exc).__name__} {exc}") from exc


_QUANTITIES = ("buy_quantity", "sell_quantity", "day_buy_quantity", "day_sell_quantity")
_VALUES = ("buy_value", "sell_value", "day_buy_value", "day_sell_value", "value", "pnl", "m2m")


def _trade(row: Row, today: date) -> Trade:
    try:
        traded_at = moment(row.get("fill_timestamp")) or moment(row.get("exchange_timestamp"))
        side = text(row["transaction_type"], 4)
        if side not in ("BUY", "SELL"):
            raise ValueError(f"{side!r} is no side")
        return Trade(
            exchange=text(row["exchange"], 10),
            order_id=text(row["order_id"], 20),
            trade_id=text(row["trade_id"], 40),
            exchange_order_id=text(row.get("exchange_order_id"), 40),
            tradingsymbol=text(row["tradingsymbol"], 64),
            product=text(row["product"], 10),
            transaction_type=side,
            quantity=whole(row["quantity"]),
            price=price(row["average_price"]),
            traded_at=traded_at,
            trading_date=traded_at.astimezone(IST).date() if traded_at is not None else today,
        )
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise Unreadable(f"no trade: {type(exc).__name__} {exc}") from exc
