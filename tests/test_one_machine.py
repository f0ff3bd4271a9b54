"""`bin/run` as a new user meets it: the real processes, from nothing, in a folder of their own.

One run serves all tests of this module, since it is the dearest thing the suite does.
"""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any

import psutil
import pytest
from ticker_client import AccessRefused, Pauses
from ticker_client import connect as connect_feed
from websockets.sync.client import connect

from greeks import black76
from streaming.tests.proxy import Proxy
from streaming.tests.ws_schemas import check
from tests.running import ROOT, Run, start, stop

CLIENT = ROOT / "clients" / "python"

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("run")
    # A fixed open moment: the test must not depend on today, nor on the hour.
    started = start(folder / "data", folder / "log", "--clock", "2026-11-25T10:42:00+05:30")
    try:
        started.wait_for("ticker is running")
        started.wait_for("beat +│")
        yield started
    finally:
        stop(started)


def test_the_block_tells_where_to_go_and_when_the_first_price_came(run: Run) -> None:
    assert re.search(r"first price \d+\.\d s after the start", run.text)
    assert f"{run.address}/login/link/" in run.text
    assert "password" in run.text
    assert run.api_key in run.text


def test_the_link_logs_in_once(run: Run) -> None:
    link = run.wait_for(rf"{run.address}/login/link/\S+").group()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    with browser.open(link, timeout=15) as page:
        assert "NIFTY" in page.read().decode()
    stranger = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))
    try:
        with stranger.open(link, timeout=15) as page:
            assert "/login" in page.url or "used" in page.read().decode()
    except urllib.error.HTTPError as refused:
        assert refused.code in {400, 403, 404, 410}


def test_health_is_ok_and_in_its_documented_shape(run: Run) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            body = run.get("/health")
            break
        except urllib.error.HTTPError as unwell:
            assert time.monotonic() < deadline, unwell.read()
            time.sleep(0.2)
    assert body["status"] == "ok"
    assert body["ticker"]["running"] is True
    assert body["ticker"]["accounts"]["AB1234"]["status"] == "open"
    assert body["dependencies"]["instrument_registry"]["cached_instruments"] >= 30_000


def test_the_health_socket_tells_of_the_processes_that_run(run: Run) -> None:
    address = f"ws://127.0.0.1:{run.port}/ws/health/"
    with connect(address, additional_headers={"X-API-Key": run.api_key}) as socket:
        frames = [json.loads(socket.recv(timeout=15)) for _ in range(3)]
    for frame in frames:
        check("health", frame)
    newest = frames[-1]
    assert newest["figures"]["ticks_per_second"] > 0
    assert newest["sockets"][0]["account"] == "AB1234"
    assert newest["sockets"][0]["words"] == "data"
    assert newest["parts_total"] > 1
    assert newest["parts"][0]["seq"] > 0


def _chain(run: Run) -> dict[str, Any]:
    """The first full part line of a chain, over the WebSocket."""
    expiry = run.get("/api/v1/option-chains/NIFTY")["expiries"][0]
    expiry = expiry["expiry"] if isinstance(expiry, dict) else expiry
    with connect(
        f"ws://127.0.0.1:{run.port}/ws/ticks/", additional_headers={"X-API-Key": run.api_key}, max_size=2**24
    ) as socket:
        socket.send(json.dumps({"type": "subscribe", "id": "1", "chains": [{"underlying": "NIFTY", "expiry": expiry}]}))
        for text in socket:
            message = json.loads(text)
            if "frame" in message:
                socket.send(json.dumps({"type": "ack", "frame": message["frame"]}))
            for part in message.get("parts", []):
                if isinstance(part, dict) and part["expiry"] == expiry and part["kind"] == "snapshot":
                    return part
    raise AssertionError("the socket closed before a snapshot came")


def test_a_received_snapshots_greeks_equal_a_direct_calculation_from_its_own_inputs(run: Run) -> None:
    part = _chain(run)
    pricing, columns = part["pricing"], part["columns"]
    assert pricing["model"] == "black-76"
    checked = 0
    for row, volatility in enumerate(columns["implied_volatility"]):
        if volatility is None:
            continue
        greeks = black76.greeks(
            pricing["underlying_price"],
            columns["strike"][row],
            pricing["time_to_expiry"],
            pricing["rate"],
            volatility,
            columns["is_call"][row],
        )
        assert columns["delta"][row] == pytest.approx(float(greeks.delta), abs=2e-4)
        assert columns["theta_per_day"][row] == pytest.approx(float(greeks.theta_per_day), rel=2e-3, abs=0.02)
        checked += 1
    assert checked > 50


def _nearest_expiry(run: Run) -> str:
    return str(run.get("/api/v1/option-chains/NIFTY")["expiries"][0])


def test_the_lines_in_the_clients_readme_print_a_live_chain_as_they_stand(run: Run, tmp_path: Path) -> None:
    code = re.findall(r"```python\n(import asyncio.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)[0]
    program = tmp_path / "live_chain.py"
    program.write_text(code)
    environment = os.environ | {
        "TICKER_URL": run.address,
        "TICKER_API_KEY": run.api_key,
        "PYTHONPATH": str(CLIENT / "src"),
        "PYTHONUNBUFFERED": "1",
    }
    command = [sys.executable, str(program), "NIFTY", _nearest_expiry(run)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        watchdog = threading.Timer(30, process.kill)
        watchdog.start()
        assert process.stdout is not None
        heads, strikes = 0, set()
        for line in process.stdout:
            heads += "rows changed, live" in line
            if found := re.fullmatch(r" *[\d.]+ +(\d+\.00) +[\d.]+\n", line):
                strikes.add(found[1])
            if heads == 3:
                break
        watchdog.cancel()
        process.kill()
    assert heads == 3
    assert len(strikes) > 20


async def test_the_client_comes_back_after_its_connection_was_cut(run: Run) -> None:
    nifty = ("NIFTY", _nearest_expiry(run))
    async with (
        asyncio.timeout(30),
        Proxy(run.address).running() as proxy,
        connect_feed(proxy.url, run.api_key, pauses=Pauses(first=0.1, longest=0.5)) as feed,
    ):
        await feed.subscribe(chains=[nifty], analytics=[nifty])
        while not (feed.chain(*nifty) and feed.analytics):
            await anext(feed)
        before = feed.chain(*nifty)
        await proxy.cut()
        while (await anext(feed)).kind != "disconnected":
            pass
        assert feed.chain(*nifty) == before
        await proxy.restore()
        again = await anext(feed)
        assert (again.kind, feed.feed_state) == ("snapshot", "live")
        assert {row.strike for row in feed.chain(*nifty)} == {row.strike for row in before}
        while (await anext(feed)).kind != "update":
            pass


async def test_the_client_does_not_come_again_with_a_key_that_is_none(run: Run) -> None:
    async with asyncio.timeout(15), connect_feed(run.address, "tk_none") as feed:
        with pytest.raises(AccessRefused) as refused:
            await feed.subscribe(chains=[("NIFTY", _nearest_expiry(run))])
    assert refused.value.code == 4401


def test_a_process_that_is_killed_comes_back(run: Run) -> None:
    parent = psutil.Process(run.process.pid)
    stream = next(child for child in parent.children(recursive=True) if "run_stream" in child.cmdline())
    stream.kill()
    run.wait_for("stream was ended by SIGKILL; starting it again")
    deadline = time.monotonic() + 60
    while _chain(run)["epoch"] < 2:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_second_run_on_the_same_folder_says_so_in_one_line(run: Run, tmp_path: Path) -> None:
    second = start(run.folder, tmp_path / "log")
    assert second.process.wait(30) == 1
    assert re.fullmatch(r"✗ .* is in use by process \d+: .*--data DIR\n+", second.text.lstrip())


def test_stopping_leaves_no_process_and_a_second_start_is_quick(run: Run) -> None:
    children = psutil.Process(run.process.pid).children(recursive=True)
    stop(run)
    assert run.process.returncode == 0
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []
    assert "everything is stopped" in run.text
