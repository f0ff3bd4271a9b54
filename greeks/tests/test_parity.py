import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import black76, parity
from greeks.arrays import Floats

FORWARD, YEARS, RATE = 24656.95, 9 / 365, 0.10
STRIKES = np.arange(23000.0, 26500.0, 50.0)
TICK = 0.05


def chain(*, tick: float = 0.0) -> tuple[Floats, Floats]:
    """Calls and puts of a chain with a smile, rounded to a tick where one is given."""
    smile = 0.12 + 0.8 * np.abs(np.log(STRIKES / FORWARD))
    call, put = (black76.price(FORWARD, STRIKES, YEARS, RATE, smile, is_call) for is_call in (True, False))
    return (np.round(call / tick) * tick, np.round(put / tick) * tick) if tick else (call.copy(), put.copy())


def test_the_forward_of_an_orderly_chain_comes_back() -> None:
    found = parity.implied_forward(*chain(), STRIKES, YEARS, RATE)
    assert found.forward == pytest.approx(FORWARD, rel=1e-13)
    assert found.pairs >= 2
    assert found.deviation < 1e-8


def test_rounding_to_ticks_moves_it_by_less_than_a_tick() -> None:
    found = parity.implied_forward(*chain(tick=TICK), STRIKES, YEARS, RATE)
    assert abs(found.forward - FORWARD) < TICK
    assert found.deviation <= 2 * TICK


@given(st.lists(st.integers(0, len(STRIKES) - 1), max_size=3, unique=True), st.floats(0.05, 20000.0))
def test_a_few_bad_quotes_do_not_move_it(bad: list[int], price: float) -> None:
    call, put = chain(tick=TICK)
    call[bad] = price
    assert abs(parity.implied_forward(call, put, STRIKES, YEARS, RATE).forward - FORWARD) < 2 * TICK


def test_stale_wings_do_not_move_it() -> None:
    call, put = chain(tick=TICK)
    wings = np.abs(STRIKES - FORWARD) > 800
    call[wings] += 40.0  # last traded when the index stood elsewhere
    assert abs(parity.implied_forward(call, put, STRIKES, YEARS, RATE).forward - FORWARD) < TICK


def test_strikes_without_both_quotes_take_no_part() -> None:
    call, put = chain()
    call[::2], put[1::4] = math.nan, 0.0
    found = parity.implied_forward(call, put, STRIKES, YEARS, RATE)
    assert found.forward == pytest.approx(FORWARD, rel=1e-12)


def test_wide_quotes_count_less() -> None:
    call, put = chain()
    spread = np.where(np.arange(STRIKES.size) % 2, 1.0, 50.0)
    call[::2] += 5.0  # the wide half is off by ten ticks and more
    found = parity.implied_forward(call, put, STRIKES, YEARS, RATE, spread=spread)
    assert abs(found.forward - FORWARD) < 0.5


def test_the_order_of_the_strikes_does_not_matter() -> None:
    call, put = chain(tick=TICK)
    mixed = np.random.default_rng(7).permutation(STRIKES.size)
    found = parity.implied_forward(call[mixed], put[mixed], STRIKES[mixed], YEARS, RATE)
    assert found == pytest.approx(parity.implied_forward(call, put, STRIKES, YEARS, RATE), rel=1e-12)


@pytest.mark.parametrize("quoted", [0, 1, 2])
def test_fewer_than_three_pairs_imply_nothing(quoted: int) -> None:
    call, put = chain()
    call[quoted:] = math.nan
    found = parity.implied_forward(call, put, STRIKES, YEARS, RATE)
    assert math.isnan(found.forward)
    assert found.pairs == 0


def test_two_of_three_pairs_outvote_the_third() -> None:
    call, put = chain()
    middle = slice(32, 35)
    call[32] += 300.0
    found = parity.implied_forward(call[middle], put[middle], STRIKES[middle], YEARS, RATE)
    assert found.forward == pytest.approx(FORWARD, rel=1e-9)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"call_price \(2,\).*strike \(3,\)"):
        parity.implied_forward([1.0, 2.0], [1.0, 2.0], [1.0, 2.0, 3.0], YEARS, RATE)
    with pytest.raises(ValueError, match="one expiry at a time"):
        parity.implied_forward([[1.0]], [[1.0]], [[1.0]], YEARS, RATE)
    with pytest.raises(ValueError, match="at least 3"):
        parity.implied_forward([1.0], [1.0], [1.0], YEARS, RATE, pairs=2)


def test_prices_near_the_largest_number_imply_no_forward_and_no_warning() -> None:
    calls = [1.0, 8.98846567431158e307, 8.98846567431158e307]
    found = parity.implied_forward(calls, [1.0, 1.0, 1.0], [100.0, 101.0, 102.0], 0.0, 0.0)
    assert math.isnan(found.forward)
