"""What an order trades, given what stands on the other side. Pure; prices in paise, quantities in units."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from simulator.trading.terms import Side


class Level(NamedTuple):
    """One price of the other side's depth, and how much is left there."""

    price: int
    quantity: int


class Fill(NamedTuple):
    price: int
    quantity: int


def is_within(side: Side, price: int, limit: int | None) -> bool:
    """Whether a trade at `price` is as good as the limit or better; no limit takes every price."""
    return limit is None or (price <= limit if side is Side.BUY else price >= limit)


def sweep(side: Side, levels: Iterable[Level], quantity: int, limit: int | None) -> list[Fill]:
    """An order that arrives: it takes the best prices first, each at the price it finds, and stops at its limit."""
    fills = []
    for level in levels:
        if quantity <= 0 or not is_within(side, level.price, limit):
            break
        if (taken := min(quantity, level.quantity)) > 0:
            fills.append(Fill(level.price, taken))
            quantity -= taken
    return fills


def rest(
    side: Side, levels: Iterable[Level], quantity: int, limit: int, *, last_price: int, last_quantity: int
) -> list[Fill]:
    """An order that waits: who comes to it trades at its price, not better.

    What crosses it comes from the other side's depth; where nothing does, from a trade at its price or through it.
    """
    reachable = sum(fill.quantity for fill in sweep(side, levels, quantity, limit))
    if not reachable and is_within(side, last_price, limit):
        reachable = min(quantity, last_quantity)
    return [Fill(limit, reachable)] if reachable > 0 else []


def is_triggered(side: Side, last_price: int, trigger_price: int) -> bool:
    """A stop to buy waits for a price at or above its trigger, one to sell for a price at or below it."""
    return last_price >= trigger_price if side is Side.BUY else last_price <= trigger_price


def slices(quantity: int, most: int) -> Sequence[int]:
    """The quantity in pieces of `most`, the last one smaller where it does not divide."""
    whole, left = divmod(quantity, most)
    return [most] * whole + ([left] if left else [])
