"""A TCP proxy in front of a server, to take it away and bring it back."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit


class Proxy:
    """Forwards bytes; `cut` closes every connection and refuses new ones, `hold` keeps them and forwards nothing."""

    def __init__(self, url: str) -> None:
        self._target = urlsplit(url)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._port = 0
        self.delay = 0.0
        """Seconds that what is forwarded to the server takes longer."""

    @property
    def url(self) -> str:
        """The target's URL with the proxy's address."""
        userinfo = self._target.netloc.rpartition("@")[0]
        netloc = f"{userinfo}@127.0.0.1:{self._port}" if userinfo else f"127.0.0.1:{self._port}"
        return urlunsplit(self._target._replace(netloc=netloc))

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        await self.restore()
        try:
            yield self
        finally:
            await self.cut()

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def restore(self) -> None:
        self._flowing.set()
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        self._flowing.clear()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream = await asyncio.open_connection(self._target.hostname, self._target.port)
        ways = (self._copy(reader, upstream, to_server=True), self._copy(upstream_reader, writer))
        directions = [asyncio.create_task(way) for way in ways]
        try:
            await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for direction in directions:
                direction.cancel()
            await asyncio.gather(*directions, return_exceptions=True)
            for one in (writer, upstream):
                one.transport.abort()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool = False
    ) -> None:
        while data := await reader.read(2**20):
            await self._flowing.wait()
            if to_server and self.delay:
                await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
