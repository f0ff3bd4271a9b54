"""The order book beyond its best prices, as columns of a line: who wants it has it in every line.

A line has the best bid and offer of every row. With more levels come, for each level and side, price, quantity and
number of orders: `bid_2`, `bid_quantity_2` and so on, and `bid_orders` of the first. They nearly double a line, so they
are a setting of the whole stream (STREAM_DEPTH_LEVELS) and not a client's wish: a line is encoded once, for everybody.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from market.lines import Column
from streaming.packets import DEPTH_LEVELS

PAISE: Final = 2


class Place(NamedTuple):
    """A column of the book: its name in a line, in the tick table, and where it stands there."""

    column: Column
    field: str
    place: int


def book_columns(levels: int) -> tuple[Place, ...]:
    """What lines with so many levels have besides the best prices and quantities, the best level first.

    Raises
    ------
    ValueError
        If the broker does not send so many.
    """
    if not 1 <= levels <= DEPTH_LEVELS:
        raise ValueError(f"the broker sends 1 to {DEPTH_LEVELS} levels of depth, not {levels}")
    return tuple(_places(levels)) if levels > 1 else ()


def _places(levels: int) -> Iterator[Place]:
    # Of one kind one behind the other: what lies side by side is scaled in one go.
    levels_of_sides = [
        (side, first + level, f"_{level + 1}" if level else "")
        for level in range(levels)
        for side, first in (("bid", 0), ("ask", DEPTH_LEVELS))
    ]
    for side, place, number in levels_of_sides[2:]:
        yield Place(Column(f"{side}{number}", "i4", decimals=PAISE), "depth_price", place)
    for side, place, number in levels_of_sides[2:]:
        yield Place(Column(f"{side}_quantity{number}", "u4"), "depth_quantity", place)
    for side, place, number in levels_of_sides:
        yield Place(Column(f"{side}_orders{number}", "u4"), "depth_orders", place)
