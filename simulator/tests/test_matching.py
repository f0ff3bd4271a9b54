"""What an order trades against a book: properties that hold for every book."""

from hypothesis import given
from hypothesis import strategies as st

from simulator.trading.matching import Level, is_within, rest, slices, sweep
from simulator.trading.terms import Side

sides = st.sampled_from(Side)
prices = st.integers(1, 100)
quantities = st.integers(1, 1_000)
offered = st.dictionaries(prices, st.integers(0, 500), max_size=5)


def book(side: Side, levels: dict[int, int]) -> list[Level]:
    """Best first: the lowest offer for a buyer, the highest bid for a seller."""
    return [Level(price, levels[price]) for price in sorted(levels, reverse=side is Side.SELL)]


@given(sides, offered, quantities, st.none() | prices)
def test_a_sweep_never_takes_more_than_is_there_or_wanted_nor_beyond_its_limit(
    side: Side, levels: dict[int, int], quantity: int, limit: int | None
) -> None:
    fills = sweep(side, book(side, levels), quantity, limit)
    assert all(0 < fill.quantity <= levels[fill.price] and is_within(side, fill.price, limit) for fill in fills)
    reachable = sum(size for price, size in levels.items() if is_within(side, price, limit))
    assert sum(fill.quantity for fill in fills) == min(quantity, reachable)


@given(sides, offered, quantities, st.none() | prices)
def test_a_sweep_passes_no_better_price_by(
    side: Side, levels: dict[int, int], quantity: int, limit: int | None
) -> None:
    fills = sweep(side, book(side, levels), quantity, limit)
    assert [fill.price for fill in fills] == sorted((f.price for f in fills), reverse=side is Side.SELL)
    for fill in fills[:-1]:
        assert fill.quantity == levels[fill.price]


@given(sides, offered, quantities, prices, prices, quantities)
def test_who_waits_trades_at_the_own_price_and_at_most_the_own_quantity(
    side: Side, levels: dict[int, int], quantity: int, limit: int, last_price: int, last_quantity: int
) -> None:
    fills = rest(side, book(side, levels), quantity, limit, last_price=last_price, last_quantity=last_quantity)
    assert all(fill.price == limit and 0 < fill.quantity <= quantity for fill in fills)
    is_crossed = any(size and is_within(side, price, limit) for price, size in levels.items())
    assert bool(fills) == (is_crossed or is_within(side, last_price, limit))


@given(quantities, quantities)
def test_slices_are_the_whole_and_none_is_too_large(quantity: int, most: int) -> None:
    parts = slices(quantity, most)
    assert sum(parts) == quantity
    assert all(0 < part <= most for part in parts)
