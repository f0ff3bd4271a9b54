"""The WebSocket: who listens to what, and what they are sent."""

import asyncio
import contextlib
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

import numpy as np
from aiohttp import WSMsgType, web

from simulator.broker import BROKER, Broker
from simulator.clock import IST
from simulator.faults.disturbance import Disturbance
from simulator.logins import Access
from simulator.market import Market
from simulator.packets import HEARTBEAT, MODES, NOT_SUBSCRIBED, QUOTE, encode_frame

logger = logging.getLogger(__name__)

CONNECTIONS_PER_KEY = 3
TOKENS_PER_CONNECTION = 3_000
HEARTBEAT_SECONDS = 2.0  # clients give a link up after 5 s of silence
_TOKEN_CHECK_SECONDS = 1.0
_CLOSE_SECONDS = 1.0  # how long a client may take to answer our goodbye


class InvalidMessage(ValueError):
    """A client's text message that cannot be carried out; the text goes back to the client."""


class Connection:
    """One socket: its subscriptions, and which of them have news.

    News are rows, not packets: whoever reads slowly gets the newest packet of each instrument, and nothing piles up.
    """

    def __init__(
        self,
        number: int,
        websocket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
        access: Access,
        market: Market,
    ) -> None:
        self.number = number
        self.websocket = websocket
        self.transport = transport
        self.access = access
        self.disturbance: Disturbance | None = None  # what a test lets go wrong here
        self.outlives_token = False
        self._modes_by_token: dict[int, int] = {}
        self._wake = asyncio.Event()
        self._texts: deque[str] = deque()  # about orders: none is left out
        self.follow(market)

    def follow(self, market: Market) -> None:
        """Watch this market from now on; subscriptions stay, tokens that it does not have are silent."""
        self._market = market
        rows = market.universe.row_of_token
        self._modes = np.zeros(len(market.packets), dtype=np.uint8)
        self._news = np.zeros(len(market.packets), dtype=bool)
        for token, mode in self._modes_by_token.items():
            if (row := rows.get(token)) is not None:
                self._modes[row] = mode
                self._news[row] = True

    @property
    def subscribed(self) -> int:
        """How many instruments the client has asked for."""
        return len(self._modes_by_token)

    @property
    def is_mute(self) -> bool:
        return self.disturbance is not None and self.disturbance.is_mute

    def changed(self, rows: np.ndarray[Any, np.dtype[np.int64]]) -> None:
        self._news[rows] = True
        self._wake.set()

    def tell(self, text: str) -> None:
        """Send this text, after those before it."""
        self._texts.append(text)
        self._wake.set()

    def handle(self, text: str) -> None:
        """Carry out one message of the client. Raises InvalidMessage."""
        action, value = _parse(text)
        if action == "subscribe":
            # Who subscribes again, as clients do after a reconnect, keeps the mode already set.
            tokens = self._admitted(_tokens(value), are_new=True)
            self._set_modes({token: self._modes_by_token.get(token, QUOTE) for token in tokens})
        elif action == "unsubscribe":
            self._unsubscribe(_tokens(value))
        elif action == "mode":
            if not isinstance(value, list) or len(value) != 2 or value[0] not in MODES:
                raise InvalidMessage("Invalid mode; use ltp, quote or full")
            self._set_modes(dict.fromkeys(self._admitted(_tokens(value[1]), are_new=False), MODES[value[0]]))
        else:
            raise InvalidMessage(f"Invalid action {action!r}")

    def _admitted(self, tokens: list[int], *, are_new: bool) -> list[int]:
        return tokens if self.disturbance is None else self.disturbance.admitted(tokens, are_new=are_new)

    def _set_modes(self, wanted: dict[int, int]) -> None:
        rows = self._market.universe.row_of_token
        refused = 0
        for token, mode in wanted.items():
            if (row := rows.get(token)) is None:
                continue
            if token not in self._modes_by_token and len(self._modes_by_token) >= TOKENS_PER_CONNECTION:
                refused += 1
                continue
            self._modes_by_token[token] = mode
            self._modes[row] = mode
            self._news[row] = True  # the current state follows at once
        self._wake.set()
        if refused:
            raise InvalidMessage(
                f"Subscription limit of {TOKENS_PER_CONNECTION} instruments exceeded: {refused} not subscribed"
            )

    def _unsubscribe(self, tokens: Iterable[int]) -> None:
        rows = self._market.universe.row_of_token
        for token in tokens:
            if self._modes_by_token.pop(token, None) is not None and (row := rows.get(token)) is not None:
                self._modes[row] = NOT_SUBSCRIBED

    def take_frame(self) -> bytes | None:
        """The next binary frame, or None when nothing subscribed has changed."""
        self._wake.clear()
        rows = np.flatnonzero(self._news & (self._modes != NOT_SUBSCRIBED))
        self._news[:] = False
        if not len(rows):
            return None
        if self.disturbance is not None:
            return self.disturbance.encode(self._market, rows, self._modes)
        return encode_frame(self._market.packets, rows, self._modes, self._market.is_index)

    async def send_forever(self) -> None:
        """Send news as they come, and a heartbeat when none came for a while; until the client leaves."""
        with contextlib.suppress(ConnectionError):
            sent_at = time.monotonic()
            while True:
                frame = self.take_frame()
                while self._texts:
                    text = self._texts.popleft()
                    if not self.is_mute:
                        await self.websocket.send_str(text)
                        sent_at = time.monotonic()
                if frame is None and time.monotonic() - sent_at >= HEARTBEAT_SECONDS:
                    frame = HEARTBEAT
                if frame is not None:
                    if self.disturbance is None:
                        await self.websocket.send_bytes(frame)
                    else:
                        await self._send_disturbed(frame, self.disturbance)
                    sent_at = time.monotonic()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(sent_at + HEARTBEAT_SECONDS - time.monotonic(), 0)):
                        await self._wake.wait()

    async def _send_disturbed(self, frame: bytes, disturbance: Disturbance) -> None:
        for copy in disturbance.copies(frame):
            await self.websocket.send_bytes(copy)
        await asyncio.sleep(disturbance.pause_seconds)


class Feed:
    """All sockets of all apps, and the loop that moves the market."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker
        self.connections: set[Connection] = set()
        self.on_open: Callable[[Connection], None] = lambda _: None  # told each socket that has opened
        self._opened = 0
        self._claimed: dict[str, int] = {}  # sockets per api key, counted before the handshake ends
        self._closing: set[asyncio.Task[Any]] = set()
        broker.logins.on_end = self._token_ended

    def listens(self, user_id: str) -> bool:
        """Whether a socket of this user is open."""
        return any(connection.access.user.user_id == user_id for connection in self.connections)

    def tell(self, user_id: str, text: str) -> None:
        """Send a text to every socket of a user, whatever it has subscribed."""
        for connection in self.connections:
            if connection.access.user.user_id == user_id:
                connection.tell(text)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """`GET /` with an upgrade: refuse with 403 or 429, or serve until either side closes."""
        api_key = request.query.get("api_key", "")
        access = self._broker.logins.access(api_key, request.query.get("access_token", ""))
        if access is None or not access.app.market_data:
            return web.Response(status=403, text="Forbidden")
        if self._claimed.get(api_key, 0) >= CONNECTIONS_PER_KEY:
            return web.Response(status=429, text="Too many connections")
        self._claimed[api_key] = self._claimed.get(api_key, 0) + 1
        try:
            return await self._serve(request, access)
        finally:
            self._claimed[api_key] -= 1

    async def _serve(self, request: web.Request, access: Access) -> web.WebSocketResponse:
        # Pings are answered, but none are sent: an unasked pong would make the official client hang up.
        websocket = web.WebSocketResponse(compress=False, timeout=_CLOSE_SECONDS, max_msg_size=1 << 20, autoping=False)
        await websocket.prepare(request)
        self._opened += 1
        connection = Connection(self._opened, websocket, request.transport, access, self._broker.market)
        for greeting in self._greetings():
            await websocket.send_str(greeting)
        self.connections.add(connection)
        self.on_open(connection)
        sender = asyncio.create_task(connection.send_forever(), name=f"feed of {access.app.api_key}")
        try:
            with contextlib.suppress(ConnectionError):  # nobody is left to be answered
                await self._listen(connection)
        finally:
            self.connections.discard(connection)
            sender.cancel()
            await asyncio.wait([sender])
        return websocket

    async def _listen(self, connection: Connection) -> None:
        async for message in connection.websocket:
            if message.type is WSMsgType.PING:
                if connection.disturbance is None or connection.disturbance.answers_pings:
                    await connection.websocket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                try:
                    connection.handle(message.data)
                except InvalidMessage as exc:
                    if not connection.is_mute:
                        await connection.websocket.send_str(json.dumps({"type": "error", "data": str(exc)}))

    def _greetings(self) -> tuple[str, str]:
        market = self._broker.market
        now = datetime.fromtimestamp(self._broker.clock.timestamp(), IST)
        data = {"count": len(market.packets), "etag": f'W/"{market.day:%Y%m%d}-{market.seed}"'}
        return (
            json.dumps({"type": "instruments_meta", "data": data}),
            json.dumps({"type": "app_code", "timestamp": now.isoformat(timespec="seconds")}),
        )

    async def run(self) -> None:
        """Move the market and tell the connections, until cancelled."""
        interval = self._broker.options.frame_ms / 1000
        due = token_check = time.monotonic()
        while True:
            self._advance()
            if time.monotonic() >= token_check:
                token_check += _TOKEN_CHECK_SECONDS
                self._close_dead_tokens()
                await self._change_day()
            due = max(due + interval, time.monotonic())
            await asyncio.sleep(due - time.monotonic())

    def _advance(self) -> None:
        changed = self._broker.market.advance(self._broker.clock.timestamp())
        desk = self._broker.desk
        if len(changed):
            desk.market_moved(changed)
            for connection in self.connections:
                connection.changed(changed)
        desk.tick()

    async def _change_day(self) -> None:
        if not self._broker.is_new_day():
            return
        market = await asyncio.to_thread(self._broker.open_market)
        logger.info("new trading day %s: %d instruments", market.day, len(market.packets))
        self._broker.market = market
        self._broker.desk.follow(market)
        for connection in self.connections:
            connection.follow(market)

    def _token_ended(self, access_token: str) -> None:
        if self._broker.options.rules.dead_token_closes_feed:
            for connection in [c for c in self.connections if c.access.token == access_token]:
                if not connection.outlives_token:
                    self._close(connection)

    def _close_dead_tokens(self) -> None:
        for token in {c.access.token: c.access for c in self.connections}.values():
            if self._broker.logins.access(token.app.api_key, token.token) is None:
                self._token_ended(token.token)

    def _close(self, connection: Connection) -> None:
        closing = asyncio.create_task(connection.websocket.close(code=1000, message=b"token ended"), name="close")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Say goodbye to everybody."""
        await asyncio.gather(*(c.websocket.close(code=1001) for c in list(self.connections)), return_exceptions=True)


FEED = web.AppKey("feed", Feed)


async def serve_feed(request: web.Request) -> web.StreamResponse:
    """Path `/`: the WebSocket, and nothing else."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise web.HTTPNotFound
    return await request.app[FEED].handle(request)


def setup(app: web.Application) -> None:
    """Route the WebSocket and run its loop for as long as the app runs."""
    feed = app[FEED] = Feed(app[BROKER])

    async def run_feed(_: web.Application) -> Any:
        task = asyncio.create_task(feed.run(), name="market")
        task.add_done_callback(_report_failure)
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def close_feed(_: web.Application) -> None:
        await feed.close()

    app.cleanup_ctx.append(run_feed)
    app.on_shutdown.append(close_feed)
    app.router.add_get("/", serve_feed)


def _report_failure(task: asyncio.Task[None]) -> None:
    """A market that stands still must not do so quietly."""
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.critical("the simulated market stopped; restart the simulator", exc_info=error)


def _parse(text: str) -> tuple[str, Any]:
    try:
        message = json.loads(text)
    except ValueError:
        raise InvalidMessage("Invalid message: not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("a"), str):
        raise InvalidMessage('Invalid message: expected {"a": …, "v": …}')
    return message["a"], message.get("v")


def _tokens(value: object) -> list[int]:
    if not isinstance(value, list) or not all(isinstance(token, int) for token in value):
        raise InvalidMessage("Invalid instrument tokens: expected a list of integers")
    return value
