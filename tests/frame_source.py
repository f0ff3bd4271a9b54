"""A broker that sends as many ticks a second as it is told, run as a process of its own.

Half of the packets are of one underlying in twenty, so that instruments tick several times in a window. Each packet's
volume is the number of its frame; its open interest is when it was sent, in milliseconds since `began`. Prints its
root, and when its standard input ends, how many packets it sent.
"""

import argparse
import asyncio
import struct
import sys
import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks.market import MARKET_TIME, UNDERLYINGS, frames_of, market

PACKETS_A_FRAME = 100
PACKET = np.dtype(
    {
        "names": ["last_price", "volume", "last_trade_time", "oi", "exchange_timestamp"],
        "formats": [">i4", ">u4", ">u4", ">u4", ">u4"],
        "offsets": [6, 18, 46, 50, 62],  # behind a length of two bytes
        "itemsize": 186,
    }
)


def market_time(began: float) -> float:
    """The market's clock of a run that began at this system time."""
    return MARKET_TIME + time.time() - began


class Source:
    """Sends to whoever is connected, frame by frame in turns."""

    def __init__(self, ticks_a_second: int, began: float) -> None:
        self.sent = 0
        self._began = began
        self._every = PACKETS_A_FRAME / ticks_a_second
        self._connections: list[ServerConnection] = []
        self._frames = self._make_frames()

    async def serve(self, connection: ServerConnection) -> None:
        """Answers nothing: what is asked for makes no difference here."""
        self._connections.append(connection)
        try:
            async for _ in connection:
                pass
        except ConnectionClosed:
            pass
        finally:
            self._connections.remove(connection)

    async def run(self, sockets: int) -> None:
        """Send until cancelled, once so many sockets are open. What is late is caught up with."""
        while len(self._connections) < sockets:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        due = loop.time()
        for number, frame in enumerate(self._frames):
            await self._connections[number % sockets].send(frame)
            self.sent += PACKETS_A_FRAME
            due += self._every
            await asyncio.sleep(max(0.0, due - loop.time()))

    def _make_frames(self) -> Iterator[bytes]:
        source, random = market(), np.random.default_rng(3)
        rows = len(source.contracts)
        hot, half = rows // UNDERLYINGS, PACKETS_A_FRAME // 2
        joined = b"".join(frame[2:] for frame in frames_of(source, range(rows), PACKETS_A_FRAME, volume=1))
        packets: NDArray[np.void] = np.frombuffer(joined, f"V{PACKET.itemsize}")
        head, number = struct.pack(">H", PACKETS_A_FRAME), 0
        while True:
            for cold in random.permutation(rows - half)[: rows - half - rows % half].reshape(-1, half):
                chosen = np.concatenate([random.permutation(hot)[:half], cold + half])
                frame = packets[chosen].view(PACKET)
                number += 1
                frame["last_price"] += 5 * random.integers(0, 3, PACKETS_A_FRAME)
                frame["volume"], frame["oi"] = number, round(1000 * (time.time() - self._began))
                frame["last_trade_time"] = frame["exchange_timestamp"] = int(market_time(self._began))
                yield head + frame.tobytes()


async def run(ticks_a_second: int, began: float, sockets: int) -> None:
    source = Source(ticks_a_second, began)
    async with serve(source.serve, "127.0.0.1", 0, compression=None) as server:
        print(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}", flush=True)  # noqa: T201
        sending = asyncio.create_task(source.run(sockets))
        await asyncio.to_thread(sys.stdin.read)
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        print(source.sent, flush=True)  # noqa: T201


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("ticks_a_second", type=int)
    parser.add_argument("began", type=float)
    parser.add_argument("sockets", type=int)
    asyncio.run(run(**vars(parser.parse_args())))
