"""A simulator that is stopped and started again goes on with its day's trading."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from django.conf import settings
from kiteconnect import KiteConnect

from simulator.options import SimulatorOptions
from simulator.tests.running import options_for_tests, running

ORDER = {
    "variety": "regular",
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": 10,
    "product": "CNC",
    "validity": "DAY",
}


@pytest.fixture
def options(tmp_path: Path) -> SimulatorOptions:
    options = options_for_tests(Path(settings.MARKET_DATA_DIR))
    return replace(options, order_ms=0, state_file=tmp_path / "simulator.pickle")


def place(trader: KiteConnect, **fields: object) -> str:
    return str(trader.place_order(**ORDER | fields))


def held(trader: KiteConnect) -> dict[str, tuple[int, float]]:
    """What the account has, without what the market makes of it."""
    return {row["tradingsymbol"]: (row["quantity"], row["average_price"]) for row in trader.positions()["net"]}


def wait_for(condition: Callable[[], bool]) -> None:
    for _ in range(200):
        if condition():
            return
        time.sleep(0.02)
    pytest.fail("it did not happen")


def test_orders_trades_and_positions_are_there_after_a_restart_and_what_rests_goes_on(
    options: SimulatorOptions,
) -> None:
    with running(options) as first:
        trader = first.logged_in()
        filled = place(trader, order_type="MARKET", market_protection=-1)
        resting = place(trader, order_type="LIMIT", price=1500)
        wait_for(lambda: trader.order_history(filled)[-1]["status"] == "COMPLETE")
        wait_for(lambda: trader.order_history(resting)[-1]["status"] == "OPEN")
        before = (trader.orders(), trader.trades(), held(trader))
    with running(options) as second:
        trader = second.logged_in()
        assert (trader.orders(), trader.trades(), held(trader)) == before
        trader.cancel_order("regular", resting)
        wait_for(lambda: trader.order_history(resting)[-1]["status"] == "CANCELLED")
        assert place(trader, order_type="LIMIT", price=1500) not in {filled, resting}


def test_a_file_that_cannot_be_read_or_is_of_another_day_begins_anew(options: SimulatorOptions) -> None:
    assert options.state_file is not None
    with running(options) as first:
        place(first.logged_in(), order_type="LIMIT", price=1500)
    other_day = replace(options, market_clock="2026-11-26T10:42:00+05:30")
    with running(other_day) as second:
        assert second.logged_in().orders() == []
    options.state_file.write_bytes(b"\x80\x05no pickle")
    with running(options) as third:
        assert third.logged_in().orders() == []


def test_a_file_that_names_other_code_is_not_carried_out(options: SimulatorOptions, tmp_path: Path) -> None:
    assert options.state_file is not None
    sign = tmp_path / "carried-out"
    options.state_file.write_bytes(b"cos\nsystem\n(S'touch " + str(sign).encode() + b"'\ntR.")
    with running(options) as simulator:
        assert simulator.logged_in().orders() == []
    assert not sign.exists()
