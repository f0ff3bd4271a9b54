"""The connection: it comes back when it breaks, asks again for what it had, and hands on one update at a time."""

import asyncio
import inspect
import itertools
import json
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, Self, TypedDict, Unpack
from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_socket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from ticker_client.errors import AccessRefused, RequestRefused, TickerError
from ticker_client.state import Bars, Part, Row, State, Strike, bars_of

logger = logging.getLogger(__name__)

# 4400: frames that the service cannot read, so another version of it; 4401 and 4403: not logged in, no right to stream.
FINAL_CLOSES: Final = frozenset({4400, 4401, 4403})
FINAL_STATUSES: Final = frozenset({400, 401, 403, 404})
LARGEST_FRAME: Final = 2**24  # bytes

FeedState = Literal["live", "down", "disconnected"]
Callback = Callable[["Update"], Awaitable[None] | None]
Chain = tuple[str, str]


class Topics(TypedDict, total=False):
    """What can be had: `chains` and `analytics` by underlying and expiry (`YYYY-MM-DD`), the cash and futures of
    `underlyings`, instruments by `symbols` (`NSE:INFY`) or the broker's `tokens`, and the `bars` of a second and of a
    minute of underlyings, which come with updates."""

    chains: Iterable[Chain]
    underlyings: Iterable[str]
    symbols: Iterable[str]
    tokens: Iterable[int]
    analytics: Iterable[Chain]
    bars: Iterable[str]


@dataclass(frozen=True, slots=True)
class Pauses:
    """Seconds. Before the n-th attempt in a row comes a random part of `first` × 2ⁿ, of `longest` at most."""

    first: float = 0.5
    longest: float = 30.0
    refused: float = 5.0  # until something is asked for again that the service did not give back after a reconnection

    def before(self, attempt: int) -> float:
        return random.uniform(0, min(self.longest, self.first * 2 ** min(attempt, 16)))  # noqa: S311 - no secret


@dataclass(frozen=True, slots=True)
class Update:
    """What happened: rows changed (`snapshot`, `update`), the feed's state did (`status`, `disconnected`), or, after a
    reconnection, the service did not give back what it had been asked for (`refused`, with its `error`)."""

    kind: Literal["snapshot", "update", "status", "disconnected", "refused"]
    feed_state: FeedState
    tokens: frozenset[int] = frozenset()
    parts: frozenset[str] = frozenset()
    skipped: int = 0
    bars: tuple[Bars, ...] = ()
    error: RequestRefused | None = None


@dataclass(slots=True)
class _Request:
    kind: Literal["subscribe", "unsubscribe"]
    topics: dict[str, list[Any]]
    answered: "asyncio.Future[frozenset[str]]"


@dataclass(frozen=True, slots=True)
class _Frame:
    socket: ClientConnection
    message: Mapping[str, Any]
    arrived: float


class Feed:
    """Use it as `async with connect(…) as feed`, and have one loop, or one `run()`, take its updates."""

    def __init__(self, url: str, headers: Mapping[str, str], pauses: Pauses) -> None:
        self.feed_state: FeedState = "disconnected"
        self._url = url
        self._headers = dict(headers)
        self._pauses = pauses
        self._state = State()
        self._wanted: frozenset[str] = frozenset()  # parts
        self._ids = itertools.count(1)
        self._requests: dict[str, _Request] = {}
        self._refused: set[str] = set()
        self._news: asyncio.Queue[_Frame | Update | TickerError | None] = asyncio.Queue()
        self._in_use: _Frame | None = None
        self._callbacks: list[Callback] = []
        self._socket: ClientConnection | None = None
        self._error: AccessRefused | None = None
        self._last_said = ""
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._stay_connected(), name="ticker feed")
        self._task.add_done_callback(self._ended)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End the connection; who waits for updates gets no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    # --- what is known ------------------------------------------------------------------------------------------------

    @property
    def rows(self) -> Mapping[int, Row]:
        """The newest row of each instrument, by its token."""
        return self._state.rows

    @property
    def parts(self) -> Mapping[str, Part]:
        return self._state.parts

    @property
    def analytics(self) -> Mapping[str, Mapping[str, Any]]:
        """By part: `"nifty:2026-12-01:analytics"`."""
        return self._state.analytics

    def chain(self, underlying: str, expiry: str) -> list[Strike]:
        """An underlying's options of one expiry, by strike; empty while nothing of them has come."""
        return self._state.chain(underlying, expiry)

    def age_ms(self, instrument_token: int) -> float | None:
        """Milliseconds since the row's last tick; None if no tick of it is known."""
        return self._state.age_ms(instrument_token, time.monotonic())

    # --- what is asked for --------------------------------------------------------------------------------------------

    async def subscribe(self, **topics: Unpack[Topics]) -> frozenset[str]:
        """Ask for prices, analytics and bars. Returns their parts. Waits until the service answers, however long.

        Raises
        ------
        RequestRefused
            If the service does not give all of it: then it gives none of it.
        AccessRefused
            If it does not let this client in.
        """
        return await self._ask("subscribe", _said(topics))

    async def unsubscribe(self, **topics: Unpack[Topics]) -> frozenset[str]:
        """Stop these, named as in `subscribe`. Returns the parts that still come; other rows are forgotten."""
        gone = _said(topics)
        for request_id, request in list(self._requests.items()):
            if request.kind == "subscribe":
                left = {name: [one for one in ones if one not in gone[name]] for name, ones in request.topics.items()}
                request.topics = left
                if not any(left.values()):
                    del self._requests[request_id]
        return await self._ask("unsubscribe", gone)

    async def _ask(self, kind: Literal["subscribe", "unsubscribe"], topics: dict[str, list[Any]]) -> frozenset[str]:
        if self._error is not None:
            raise self._error
        if self._task is None or self._task.done():
            raise RuntimeError("the feed is not open: use it in `async with connect(…) as feed`")
        request_id = str(next(self._ids))
        request = self._requests[request_id] = _Request(kind, topics, asyncio.get_running_loop().create_future())
        await self._say(request_id, request)
        try:
            return await request.answered
        except (asyncio.CancelledError, RequestRefused):
            self._requests.pop(request_id, None)
            raise

    async def _say(self, request_id: str, request: _Request) -> None:
        if self._socket is not None:
            topics = {name: ones for name, ones in request.topics.items() if ones}
            with suppress(ConnectionClosed):  # the reader notices, and everything is asked for again
                await self._socket.send(json.dumps({"type": request.kind, "id": request_id, **topics}))

    # --- updates ------------------------------------------------------------------------------------------------------

    def on_update(self, callback: Callback) -> None:
        """Have `run()` call this with every update; what it returns is awaited if it can be."""
        self._callbacks.append(callback)

    async def run(self) -> None:
        """Call the callbacks with every update, one after the other, until the feed is closed. Raises AccessRefused."""
        async for update in self:
            for callback in self._callbacks:
                result = callback(update)
                if inspect.isawaitable(result):
                    await result

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Update:
        await self._acknowledge()
        match await self._news.get():
            case Update() as update:
                return update
            case _Frame() as frame:
                self._in_use = frame
                return self._taken(frame)
            case end:
                self._news.put_nowait(end)  # for whoever asks once more
                raise StopAsyncIteration if end is None else end

    async def _acknowledge(self) -> None:
        """The next update is asked for, so the last one was used.

        Two frames may be on their way, so every second one will do. It is half of what is sent back.
        """
        frame, self._in_use = self._in_use, None
        if frame is not None and frame.message["frame"] % 2:
            with suppress(ConnectionClosed):
                await frame.socket.send(json.dumps({"type": "ack", "frame": frame.message["frame"]}))

    def _taken(self, frame: _Frame) -> Update:
        message = frame.message
        lines = [line for line in message["parts"] if line["part"] in self._wanted]
        changed = [self._state.apply(line, frame.arrived) for line in lines]
        return Update(
            message["type"],
            self.feed_state,
            frozenset().union(*changed),
            frozenset(line["part"] for line in lines),
            message["skipped"],
            tuple(filter(None, map(bars_of, lines))),
        )

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            try:
                async with open_socket(self._url, additional_headers=self._headers, max_size=LARGEST_FRAME) as socket:
                    await self._begin(socket)
                    asking = asyncio.create_task(self._ask_again())
                    try:
                        async for text in socket:
                            attempt = 0
                            self._hear(socket, text)
                    finally:
                        asking.cancel()
                        await asyncio.gather(asking, return_exceptions=True)
                    why = f"{socket.close_code} {socket.close_reason or ''}".strip()
                    code = socket.close_code
            except InvalidStatus as exc:
                if exc.response.status_code in FINAL_STATUSES:
                    raise AccessRefused(exc.response.status_code, f"{self._url} does not open a WebSocket") from exc
                why, code = str(exc), None
            except ConnectionClosed as exc:
                why, code = str(exc), exc.rcvd.code if exc.rcvd else None
            except (OSError, TimeoutError, InvalidHandshake) as exc:
                why, code = str(exc) or type(exc).__name__, None
            if code in FINAL_CLOSES:
                raise AccessRefused(code, self._last_said or "the service ended the connection")
            self._broke_off()
            pause = self._pauses.before(attempt)
            attempt += 1
            logger.warning("no connection to %s (%s); again in %.1f s", self._url, why, pause)
            await asyncio.sleep(pause)

    async def _begin(self, socket: ClientConnection) -> None:
        self._socket, self.feed_state, self._last_said = socket, "live", ""
        self._refused.clear()
        for number, (request_id, request) in enumerate(list(self._requests.items()), 1):
            await self._say(request_id, request)
            if number % 10 == 0:  # twenty frames a second are allowed
                await asyncio.sleep(1)

    async def _ask_again(self) -> None:
        while True:
            await asyncio.sleep(self._pauses.refused)
            for request_id in [*self._refused][:10]:
                if request_id in self._requests:
                    await self._say(request_id, self._requests[request_id])

    def _broke_off(self) -> None:
        if self._socket is None:
            return
        self._socket, self.feed_state = None, "disconnected"
        # What was not taken yet comes again with the next snapshot.
        while not self._news.empty():
            self._news.get_nowait()
        self._news.put_nowait(Update("disconnected", self.feed_state))

    def _hear(self, socket: ClientConnection, text: str | bytes) -> None:
        message = json.loads(text)
        match message["type"]:
            case "snapshot" | "update":
                self._news.put_nowait(_Frame(socket, message, time.monotonic()))
            case "ack":
                self._granted(message["id"], frozenset(message["parts"]))
            case "status":
                self.feed_state = message["feed_state"]
                self._news.put_nowait(Update("status", self.feed_state))
            case "error":
                self._denied(message)

    def _granted(self, request_id: str, parts: frozenset[str]) -> None:
        request = self._requests.get(request_id)
        self._refused.discard(request_id)
        if request is not None and request.kind == "unsubscribe":
            del self._requests[request_id]
            self._wanted = parts
            self._state.keep(parts)
        else:
            self._wanted |= parts
        if request is not None and not request.answered.done():
            request.answered.set_result(parts)

    def _denied(self, message: Mapping[str, Any]) -> None:
        error = RequestRefused(message["code"], message["message"], message["details"])
        self._last_said = message["message"]
        request_id = message["id"]
        request = self._requests.get(request_id)
        if request is None:
            logger.warning("the service says: %s", error)
        elif not request.answered.done():
            request.answered.set_exception(error)
        else:
            if request_id not in self._refused:
                self._news.put_nowait(Update("refused", self.feed_state, error=error))
            self._refused.add(request_id)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._socket, self.feed_state = None, "disconnected"
        error = None if task.cancelled() else task.exception()
        if isinstance(error, AccessRefused):
            self._error = error
        failure = error if isinstance(error, TickerError) else None
        if error is not None and failure is None:
            failure = TickerError(f"the feed failed: {error!r}")
            failure.__cause__ = error
        self._news.put_nowait(failure)
        for request in self._requests.values():
            if not request.answered.done():
                if failure is None:
                    request.answered.cancel()
                else:
                    request.answered.set_exception(failure)


def connect(url: str, api_key: str | None = None, *, token: str | None = None, pauses: Pauses | None = None) -> Feed:
    """A feed of the service at `url` (`https://ticker.example.com`, or the WebSocket's own address).

    `api_key` is a key with the `stream` scope; `token`, in its place, a bearer token with `ticker:stream`.

    Raises
    ------
    ValueError
        If the address is none, or there is not one of key and token.
    """
    if (api_key is None) == (token is None):
        raise ValueError("give an api_key or a token")
    headers = {"Authorization": f"Bearer {token}"} if api_key is None else {"X-API-Key": api_key}
    return Feed(_socket_url(url), headers, pauses or Pauses())


def _socket_url(url: str) -> str:
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}.get(parts.scheme)
    if scheme is None or not parts.netloc:
        raise ValueError(f"not an address like https://ticker.example.com: {url!r}")
    return urlunsplit((scheme, parts.netloc, parts.path if parts.path.strip("/") else "/ws/ticks/", "", ""))


def _said(topics: Topics) -> dict[str, list[Any]]:
    """As the protocol has them, those that are not asked for too."""
    if unknown := topics.keys() - Topics.__annotations__:
        raise TypeError(
            f"there is nothing called {', '.join(sorted(unknown))}; there are {', '.join(Topics.__annotations__)}"
        )

    def named(ones: Iterable[Chain]) -> list[dict[str, str]]:
        return [{"underlying": underlying, "expiry": expiry} for underlying, expiry in ones]

    said: dict[str, list[Any]] = {
        "chains": named(topics.get("chains", ())),
        "underlyings": list(topics.get("underlyings", ())),
        "symbols": list(topics.get("symbols", ())),
        "tokens": list(topics.get("tokens", ())),
        "analytics": named(topics.get("analytics", ())),
        "bars": list(topics.get("bars", ())),
    }
    if not any(said.values()):
        raise ValueError(f"name something to have: {', '.join(said)}")
    return said
