"""The official KiteTicker, unchanged, against the simulator."""

import json
import os
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest
from django.conf import settings
from kiteconnect import KiteConnect

from simulator.tests.running import RunningSimulator

NIFTY, INFY, RELIANCE = 256265, 408065, 738561


def watch(simulator: RunningSimulator, access_token: str, *tokens: int) -> dict[str, Any]:
    """What the ticker's callbacks were given until each token had its first tick."""
    command = [sys.executable, "-m", "simulator.tests.kite_ticker_client", simulator.websocket_root, "simkey1"]
    finished = subprocess.run(
        [*command, access_token, *map(str, tokens)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=settings.BASE_DIR,
        # The ticker shows times in the machine's zone.
        env=os.environ | {"TZ": "Asia/Kolkata"},
    )
    seen: dict[str, Any] = json.loads(finished.stdout)
    return seen


@pytest.mark.processes
def test_the_ticker_receives_every_mode(kite: KiteConnect, simulator: RunningSimulator) -> None:
    option = simulator.broker.market.universe.row_of_symbol["NFO:NIFTY26D0126800CE"]
    option_token = simulator.broker.market.universe.contracts[option].token
    seen = watch(simulator, kite.access_token, INFY, RELIANCE, NIFTY, option_token)
    ticks = {tick["instrument_token"]: tick for tick in seen["ticks"]}

    assert seen["messages"][:2] == ["instruments_meta", "app_code"]
    assert [ticks[token]["mode"] for token in (INFY, RELIANCE, NIFTY, option_token)] == ["ltp", "quote", "full", "full"]
    assert [ticks[token]["tradable"] for token in (RELIANCE, NIFTY)] == [True, False]
    assert ticks[RELIANCE]["ohlc"]["low"] <= ticks[RELIANCE]["last_price"] <= ticks[RELIANCE]["ohlc"]["high"]
    buy, sell = (ticks[option_token]["depth"][side][0]["price"] for side in ("buy", "sell"))
    assert 0 < buy < sell
    shown = datetime.fromisoformat(ticks[option_token]["exchange_timestamp"])
    assert shown.date().isoformat() == "2026-11-25"


@pytest.mark.processes
def test_the_ticker_is_told_that_its_token_is_wrong(simulator: RunningSimulator) -> None:
    seen = watch(simulator, "wrong", INFY)
    assert "403" in seen["messages"][0]


@pytest.mark.processes
def test_the_ticker_is_told_of_its_users_orders(trading_simulator: RunningSimulator, trader: KiteConnect) -> None:
    command = [sys.executable, "-m", "simulator.tests.kite_ticker_orders_client", trading_simulator.http_root]
    finished = subprocess.run(
        [*command, trading_simulator.websocket_root, "simkey1", trader.access_token],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=settings.BASE_DIR,
    )
    told = json.loads(finished.stdout)
    assert [(update["status"], update["tag"]) for update in told] == [("COMPLETE", "ticker")]
    assert told[0]["filled_quantity"] == 10
