"""How long until a client of ours sees a price: asked as a browser would, over the WebSocket."""

import asyncio
import json
import time
from typing import Any

import websockets


class NotYet(Exception):
    """The stream has not told what it streams."""


async def seconds_until(address: str, api_key: str | None, chains: list[dict[str, str]], limit: float) -> float | None:
    """Seconds until the first option with a price arrives, or None if none does within `limit` seconds.

    Parameters
    ----------
    address : of the web server, `http://host:port`.
    api_key : one with the stream scope; without it nothing can be asked.
    chains : what to subscribe, `{"underlying", "expiry"}` each; the first is used.
    """
    if api_key is None or not chains:
        return None
    started, since = time.monotonic(), time.time()
    while time.monotonic() - started < limit:
        try:
            async with asyncio.timeout(limit):
                await _first(address.replace("http", "ws", 1) + "/ws/ticks/", api_key, chains[0], since)
        except (OSError, TimeoutError, websockets.WebSocketException, NotYet):
            await asyncio.sleep(0.1)
        else:
            return time.monotonic() - started
    return None


async def _first(url: str, api_key: str, chain: dict[str, str], since: float) -> None:
    async with websockets.connect(url, additional_headers={"X-API-Key": api_key}, max_size=2**24) as socket:
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "chains": [chain]}))
        async for text in socket:
            message = json.loads(text)
            if message["type"] == "error":
                raise NotYet(message["code"])
            if "frame" in message:
                await socket.send(json.dumps({"type": "ack", "frame": message["frame"]}))
            if any(_has_price(part, since) for part in message.get("parts", []) if isinstance(part, dict)):
                return


def _has_price(part: dict[str, Any], since: float) -> bool:
    """A price of this run: the last one of the run before may still be kept in Redis."""
    is_new = part.get("expiry") is not None and part["sent_at"] >= since
    return is_new and any(part["columns"].get("last_price", []))
