"""The order book beyond its best prices, as columns of a line: who wants it has it in every line.

A line has the best bid and offer of every row. With more levels come, for each level and side, price, quantity and
number of orders: `bid_2`, `bid_quantity_2` and so on, and `bid_orders` of the first. They nearly double a line, so they
are a setting of the whole stream (STREAM_DEPTH_LEVELS) and not a client's wish: a line is encoded once, for everybody.
"""

from dataclasses import dataclass

from market.lines import Column
from streaming.packet_fields import DEPTH, DEPTH_LEVELS, WORDS


@dataclass(frozen=True, slots=True)
class Book:
    """So many levels of the book: by the names of their columns, the words in which they come (`packet_fields`).

    All three in one order: the best bid, the best offer, the second bid and so on. With one level nobody asks for
    `orders`.
    """

    prices: dict[str, int]
    quantities: dict[str, int]
    orders: dict[str, int]

    @property
    def further_columns(self) -> tuple[Column, ...]:
        """What lines have besides the best prices and quantities."""
        prices, quantities = (list(names)[2:] for names in (self.prices, self.quantities))
        return (
            *(Column(name, "i4") for name in prices),
            *(Column(name, "u4") for name in (*quantities, *self.orders)),
        )


def book_of(levels: int) -> Book:
    """The best so many levels.

    Raises
    ------
    ValueError
        If the broker does not send so many levels.
    """
    if not 1 <= levels <= DEPTH_LEVELS:
        raise ValueError(f"the broker sends 1 to {DEPTH_LEVELS} levels of depth, not {levels}")
    entries = [
        (side, f"_{level + 1}" if level else "", first + level)
        for level in range(levels)
        for side, first in (("bid", 0), ("ask", DEPTH_LEVELS))
    ]

    def words(field: str, named: str) -> dict[str, int]:
        of_field = range(WORDS)[DEPTH[field]]
        return {f"{side}{named}{number}": of_field[entry] for side, number, entry in entries}

    return Book(
        prices=words("depth_price", ""),
        quantities=words("depth_quantity", "_quantity"),
        orders=words("depth_orders", "_orders") if levels > 1 else {},
    )
