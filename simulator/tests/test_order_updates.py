"""What users and apps are told of their orders: text frames and postbacks, and what may befall them on the way."""

import asyncio
import hashlib
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from kiteconnect import KiteConnect

from simulator.control import SimulatorControl
from simulator.options import DEMO_APP, DEMO_USER, SimulatorOptions
from simulator.postbacks import postback_checksum
from simulator.tests.feed_client import connected, receive
from simulator.tests.receiving import Receiver, receiving
from simulator.tests.running import OPEN, RunningSimulator, SetClock, running, with_control
from simulator.tests.schemas import violations

LIMIT: dict[str, Any] = {
    "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "product": "CNC", "quantity": 10,
    "order_type": "LIMIT",
}  # fmt: skip
FAR, NEAR = LIMIT | {"price": 1500}, LIMIT | {"price": 1700}


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def posting_simulator(options: SimulatorOptions, receiver: Receiver) -> Iterator[RunningSimulator]:
    apps = (replace(DEMO_APP, postback_url=receiver.url), replace(DEMO_APP, api_key="quiet", api_secret="s"))
    with running(replace(with_control(options), order_ms=0, apps=apps), SetClock(OPEN)) as simulator:
        yield simulator


@pytest.fixture
def kite(posting_simulator: RunningSimulator, receiver: Receiver) -> KiteConnect:
    receiver.bodies.clear()
    return posting_simulator.logged_in()


@pytest.fixture
def faults(posting_simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = posting_simulator.control()
    control.clear()
    control.reset_orders()
    yield control
    control.clear()
    control.close()


@asynccontextmanager
async def listening(simulator: RunningSimulator, kite: KiteConnect) -> AsyncIterator[ClientWebSocketResponse]:
    async with connected(simulator.feed_url(kite.access_token)) as websocket:
        yield websocket


async def updates(websocket: ClientWebSocketResponse, count: int) -> list[dict[str, Any]]:
    """So many order messages; nothing else may come but heartbeats."""
    found: list[dict[str, Any]] = []
    while len(found) < count:
        message = await receive(websocket)
        if message.type is WSMsgType.TEXT:
            told = json.loads(message.data)
            assert told["type"] == "order"
            assert violations("feed_text", told) == []
            found.append(told["data"])
    return found


async def test_every_socket_of_the_user_is_told_without_subscribing(
    posting_simulator: RunningSimulator, kite: KiteConnect, faults: SimulatorControl
) -> None:
    async with listening(posting_simulator, kite) as one, listening(posting_simulator, kite) as other:
        order_id = await asyncio.to_thread(kite.place_order, "regular", **FAR, tag="mine")
        await asyncio.to_thread(kite.modify_order, "regular", order_id, price=1501)
        await asyncio.to_thread(kite.cancel_order, "regular", order_id)
        for websocket in (one, other):
            told = await updates(websocket, 4)
            assert [update["status"] for update in told] == ["OPEN", "UPDATE", "OPEN", "CANCELLED"]
            assert {(u["order_id"], u["tag"], u["user_id"], u["checksum"]) for u in told} == {
                (order_id, "mine", "AB1234", "")
            }


async def test_a_partial_fill_is_an_update_and_then_it_is_complete(
    posting_simulator: RunningSimulator, kite: KiteConnect, faults: SimulatorControl
) -> None:
    faults.add("reject", on="order", filled_quantity=4, seconds=0.05, message="RMS: no")
    async with listening(posting_simulator, kite) as websocket:
        await asyncio.to_thread(kite.place_order, "regular", **FAR)
        told = await updates(websocket, 3)
    assert [(u["status"], u["filled_quantity"]) for u in told] == [("OPEN", 0), ("UPDATE", 4), ("REJECTED", 4)]
    assert told[-1]["status_message"] == "RMS: no"


def test_a_postback_is_signed_json_for_the_app_that_placed_the_order(
    kite: KiteConnect, receiver: Receiver, faults: SimulatorControl
) -> None:
    order_id = kite.place_order("regular", **NEAR)
    (body,) = receiver.wait_for(1)
    assert (body["order_id"], body["status"], receiver.content_types[-1]) == (order_id, "COMPLETE", "application/json")
    assert violations("order_update", body) == []
    expected = hashlib.sha256(f"{order_id}{body['order_timestamp']}{DEMO_APP.api_secret}".encode()).hexdigest()
    assert body["checksum"] == expected


def test_the_checksum_is_the_references() -> None:
    known = "5e8783fb1c42a564f3d0045cab362b38f15360d279eff15cb949b9140c152ab0"
    assert postback_checksum("220303000308932", "2022-03-03 09:24:25", "secret789") == known


def test_the_bare_arrival_of_an_order_is_not_posted(
    kite: KiteConnect, receiver: Receiver, faults: SimulatorControl
) -> None:
    order_id = kite.place_order("regular", **FAR)
    kite.modify_order("regular", order_id, price=1501)
    kite.cancel_order("regular", order_id)
    assert [body["status"] for body in receiver.wait_for(2)] == ["UPDATE", "CANCELLED"]


def test_a_postback_may_come_before_the_answer(kite: KiteConnect, receiver: Receiver, faults: SimulatorControl) -> None:
    faults.add("delay", method="POST", path="/orders/{variety}", after_work=True, seconds=1, times=1)
    answered: list[str] = []
    placing = threading.Thread(target=lambda: answered.append(kite.place_order("regular", **NEAR)))
    placing.start()
    (body,) = receiver.wait_for(1)
    assert answered == []
    placing.join()
    assert answered == [body["order_id"]]


def test_what_was_answered_to_a_postback_is_known(
    kite: KiteConnect, receiver: Receiver, faults: SimulatorControl
) -> None:
    receiver.status = 503
    try:
        order_id = kite.place_order("regular", **NEAR)
        receiver.wait_for(1)
    finally:
        receiver.status = 200
    patience = time.monotonic() + 5
    while not (sent := [s for s in faults.postbacks() if s["order_id"] == order_id]) and time.monotonic() < patience:
        time.sleep(0.01)
    assert sent == [{"api_key": "simkey1", "order_id": order_id, "status": "COMPLETE", "answer": "503"}]


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("drop", {}, ["CANCELLED"]),
        ("duplicate", {"copies": 3}, ["UPDATE", "UPDATE", "UPDATE", "CANCELLED"]),
        ("late", {"seconds": 0.8}, ["CANCELLED", "UPDATE"]),
        ("swap", {}, ["CANCELLED", "UPDATE"]),
        ("pass", {}, ["UPDATE", "CANCELLED"]),
    ],
)
def test_a_postback_is_lost_doubled_late_or_out_of_order(
    kite: KiteConnect,
    receiver: Receiver,
    faults: SimulatorControl,
    kind: str,
    fields: dict[str, Any],
    expected: list[str],
) -> None:
    faults.add(kind, on="postback", status="UPDATE", times=1, **fields)
    order_id = kite.place_order("regular", **FAR)
    kite.modify_order("regular", order_id, price=1501)
    kite.cancel_order("regular", order_id)
    assert [body["status"] for body in receiver.wait_for(len(expected))] == expected


@pytest.mark.parametrize("valid", [False, True])
def test_a_postback_is_forged_with_a_checksum_or_without(
    kite: KiteConnect, receiver: Receiver, faults: SimulatorControl, valid: bool
) -> None:
    faults.add("forge", on="postback", claims="COMPLETE", valid_checksum=valid, times=1)
    order_id = kite.place_order("regular", **FAR)
    kite.cancel_order("regular", order_id)
    (body,) = receiver.wait_for(1)
    assert (body["status"], body["filled_quantity"]) == ("COMPLETE", 10)
    true = postback_checksum(order_id, body["order_timestamp"], DEMO_APP.api_secret)
    assert (body["checksum"] == true) is valid
    assert kite.order_history(order_id)[-1]["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("drop", {}, ["CANCELLED"]),
        ("duplicate", {}, ["OPEN", "OPEN", "CANCELLED"]),
        ("late", {"seconds": 0.8}, ["CANCELLED", "OPEN"]),
        ("swap", {}, ["CANCELLED", "OPEN"]),
        ("forge", {"claims": "COMPLETE"}, ["COMPLETE", "CANCELLED"]),
    ],
)
async def test_a_text_frame_is_lost_doubled_late_out_of_order_or_untrue(
    posting_simulator: RunningSimulator,
    kite: KiteConnect,
    faults: SimulatorControl,
    kind: str,
    fields: dict[str, Any],
    expected: list[str],
) -> None:
    faults.add(kind, on="update", status="OPEN", times=1, user_id="AB1234", **fields)
    async with listening(posting_simulator, kite) as websocket:
        order_id = await asyncio.to_thread(kite.place_order, "regular", **FAR)
        await asyncio.to_thread(kite.cancel_order, "regular", order_id)
        assert [update["status"] for update in await updates(websocket, len(expected))] == expected


async def test_a_mute_socket_is_not_told(
    posting_simulator: RunningSimulator, kite: KiteConnect, faults: SimulatorControl
) -> None:
    async with listening(posting_simulator, kite) as websocket:
        faults.disturb("mute")
        await asyncio.to_thread(kite.place_order, "regular", **NEAR)
        with pytest.raises(TimeoutError):
            await websocket.receive(timeout=0.3)


def test_news_of_an_app_without_a_postback_url_go_nowhere(
    posting_simulator: RunningSimulator, receiver: Receiver, faults: SimulatorControl
) -> None:
    receiver.bodies.clear()
    other = KiteConnect("quiet", root=posting_simulator.http_root)
    logins = posting_simulator.broker.logins
    other.generate_session(logins.request_token(DEMO_USER, logins.apps["quiet"]), "s")
    other.place_order("regular", **NEAR)
    time.sleep(0.2)
    assert receiver.bodies == []
