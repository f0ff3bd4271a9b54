"""The floor of the fan-out benchmarks: `python -m benchmarks.picows_broadcast PORT CHANNEL` hands on what comes.

No ASGI, no protocol of its own, no acknowledgements, no topics, no limits: bytes from Redis to all who are there.
"""

import os
import sys
from typing import Any

import picows
import redis.asyncio as redis
import uvloop

HOST = "127.0.0.1"


async def main(port: int, channel: str) -> None:
    listeners: set[Any] = set()

    # Made by a call: where picows is not installed, its class cannot be checked.
    listener: Any = type(
        "Listener",
        (picows.WSListener,),
        {
            "on_ws_connected": lambda _, transport: listeners.add(transport),
            "on_ws_disconnected": lambda _, transport: listeners.discard(transport),
        },
    )

    async with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=None) as client, client.pubsub() as pubsub:
        await pubsub.subscribe(channel)
        await picows.ws_create_server(lambda request: listener(), HOST, port)
        async for message in pubsub.listen():
            if message["type"] == "message":
                for transport in list(listeners):
                    transport.send(picows.WSMsgType.BINARY, message["data"])


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
