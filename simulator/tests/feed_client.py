"""A plain client of the simulator's WebSocket, which shows every frame."""

import json
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType

from simulator.tests.schemas import violations


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[ClientWebSocketResponse]:
    """A socket whose two greetings have been read."""
    async with aiohttp.ClientSession() as session, session.ws_connect(url, autoping=False) as websocket:
        for _ in range(2):
            assert violations("feed_text", json.loads((await receive(websocket)).data)) == []
        yield websocket


async def receive(websocket: ClientWebSocketResponse) -> Any:
    return await websocket.receive(timeout=5)


async def packets(websocket: ClientWebSocketResponse) -> dict[int, int]:
    """Length by token of the next frame that has packets."""
    while True:
        message = await receive(websocket)
        assert message.type is WSMsgType.BINARY, message
        if len(message.data) > 1:
            return split(message.data)


def split(frame: bytes) -> dict[int, int]:
    found, offset = {}, 2
    for _ in range(int.from_bytes(frame[:2], "big")):
        length, token = struct.unpack_from(">HI", frame, offset)
        found[token] = length
        offset += 2 + length
    assert offset == len(frame)
    return found


async def refusal(url: str) -> int:
    """The HTTP status with which the handshake is refused."""
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        async with connected(url):
            pass
    return refused.value.status
