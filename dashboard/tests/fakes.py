"""A stand-in for the service behind the chain page: the real template and static files, and a socket a test drives.

It answers on `/ws/ticks/`: acknowledges a subscription, sends a snapshot, then whatever the test sends, and notes every
acknowledgement. Prices are made up by Black–Scholes on a smile; nothing here needs a database or Redis.
"""

import asyncio
import json
import mimetypes
import random
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import numpy as np
from django.contrib.staticfiles import finders
from django.template.loader import render_to_string
from scipy.special import ndtr
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from dashboard.chain import Chain, Contract, MarketSession, chain_page
from market.latest import parse
from market.lines import encode

POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
TODAY = date(2026, 11, 25)
MARKET_TIME = datetime(2026, 11, 25, 5, 12, 7, tzinfo=UTC).timestamp()  # 10:42:07 in India
SPOT_TOKEN, FUTURE_TOKEN = 256265, 999
Columns = dict[str, list[Any]]


@dataclass
class FakeMarket:
    """One chain whose prices move when told to."""

    underlying: str = "NIFTY"
    expiry: date = date(2026, 12, 1)
    spot: float = 24_612.35
    step: int = 50
    strikes_each_side: int = 20
    seed: int = 20261125
    source: str = "simulated"
    seq: int = 0

    def __post_init__(self) -> None:
        self.dice = random.Random(self.seed)
        self.close = self.spot - 112.4
        middle = round(self.spot / self.step) * self.step
        count = self.strikes_each_side
        self.strikes = [float(middle + self.step * n) for n in range(-count, count + 1)]
        self.contracts = [
            Contract(strike, is_call, 10_000 + 2 * row + (not is_call), 65)
            for row, strike in enumerate(self.strikes)
            for is_call in (True, False)
        ]
        self.oi = {c.instrument_token: self._first_oi(c) for c in self.contracts}
        self.oi_change = {token: int(oi * self.dice.uniform(-0.15, 0.3)) for token, oi in self.oi.items()}
        self.volume = {token: oi * 6 for token, oi in self.oi.items()}
        years = (datetime(2026, 12, 1, 10, 10, tzinfo=UTC).timestamp() - MARKET_TIME) / 31_536_000
        self.years = max(years, 1e-3)
        self.yesterday = {c.instrument_token: self.price(c, self.close)[0] * 1.08 for c in self.contracts}

    def _first_oi(self, contract: Contract) -> int:
        z = (contract.strike - self.spot) / (2 * self.step) + (-3.5 if contract.is_call else 3.5)
        steps = contract.strike / self.step
        round_number = 2.4 if steps % 10 == 0 else 1.2 if steps % 2 == 0 else 0.5
        size = round_number * self.dice.uniform(0.5, 1.0) * np.exp(-z * z / 50) * 90e5 + 0.3e5
        return int(size / 65) * 65

    def price(self, contract: Contract, spot: float) -> tuple[float, dict[str, float]]:
        forward = spot + 44.6
        x = np.log(contract.strike / forward) / np.sqrt(self.years)
        sigma = max(0.07, 0.1184 - 0.055 * x + 0.30 * x * x)
        total = sigma * np.sqrt(self.years)
        d1 = np.log(forward / contract.strike) / total + total / 2
        sign = 1 if contract.is_call else -1
        price = sign * (forward * ndtr(sign * d1) - contract.strike * ndtr(sign * (d1 - total)))
        pdf = np.exp(-d1 * d1 / 2) / np.sqrt(2 * np.pi)
        greeks = {
            "implied_volatility": sigma,
            "delta": sign * ndtr(sign * d1),
            "gamma": pdf / (forward * total),
            "theta_per_day": -forward * pdf * sigma / (2 * np.sqrt(self.years)) / 365,
            "vega_per_point": forward * pdf * np.sqrt(self.years) / 100,
        }
        return max(0.05, round(float(price) * 20) / 20), {name: float(value) for name, value in greeks.items()}

    def move(self) -> None:
        """One step of the walk."""
        self.spot = round((self.spot + self.dice.gauss(0, 2.5)) * 20) / 20

    def options(
        self, contracts: Iterable[Contract] | None = None, *, kind: str = "update", **changes: Any
    ) -> dict[str, Any]:
        """A part with rows of `contracts` (all by default). `changes` overrides columns with one value in every row."""
        chosen = list(self.contracts if contracts is None else contracts)
        rows = [self._row(contract) | changes for contract in chosen]
        pricing = {"model": "black-76", "underlying_source": "parity-forward", "underlying_price": self.spot + 44.6}
        pricing |= {"underlying_age_ms": 120, "spot": self.spot, "future": self.spot + 44.6, "rate": 0.1}
        pricing |= {"dividend_yield": 0.0, "time_to_expiry": self.years}
        return self._part(self.expiry.isoformat(), kind, rows, pricing)

    def cash(self, *, kind: str = "update") -> dict[str, Any]:
        """The underlying's part: spot and one future."""
        rows = [
            self._quote(SPOT_TOKEN, self.spot, self.close)
            | {"tradingsymbol": "NIFTY 50", "instrument_type": "EQ", "expiry": None},
            self._quote(FUTURE_TOKEN, self.spot + 44.6, self.close + 44.6)
            | {"tradingsymbol": "NIFTY26DECFUT", "instrument_type": "FUT", "expiry": "2026-12-29"},
        ]
        return self._part(None, kind, rows, None)

    def _row(self, contract: Contract) -> dict[str, Any]:
        token = contract.instrument_token
        price, greeks = self.price(contract, self.spot)
        half = max(0.05, round(price * 0.0012 * 20) / 20)
        row = self._quote(token, price, self.yesterday[token])
        row |= {"bid": round(price - half, 2), "ask": round(price + half, 2), "oi": self.oi[token]}
        row |= {"oi_day_change": self.oi_change[token], "volume_traded": self.volume[token]}
        row |= {"strike": contract.strike, "is_call": contract.is_call, **greeks}
        return row | {"rho_per_point": None, "greeks_reason": None}

    @staticmethod
    def _quote(token: int, price: float, close: float) -> dict[str, Any]:
        quote = dict.fromkeys(["average_traded_price", "open", "high", "low", "bid_quantity", "ask_quantity"])
        quote |= dict.fromkeys(["bid", "ask", "oi", "oi_day_change", "volume_traded"])
        quote |= {"instrument_token": token, "last_price": price, "close": close, "flags": 0, "age_ms": 20}
        quote |= {"change_percent": (price / close - 1) * 100, "last_trade_time": int(MARKET_TIME)}
        return quote | {"exchange_timestamp": int(MARKET_TIME)}

    def _part(
        self, expiry: str | None, kind: str, rows: list[dict[str, Any]], pricing: dict[str, Any] | None
    ) -> dict[str, Any]:
        self.seq += 1
        columns: Columns = {name: [row[name] for row in rows] for name in rows[0]}
        part = {
            "schema": 1,
            "part": f"{self.underlying.lower()}:{expiry or 'underlying'}",
            "underlying": self.underlying,
        }
        part |= {
            "expiry": expiry,
            "kind": kind,
            "source": self.source,
            "feed_state": "live",
            "epoch": 1,
            "seq": self.seq,
        }
        return part | {"sent_at": time.time(), "market_time": MARKET_TIME, "pricing": pricing, "columns": columns}


class FakeSite:
    """Serves the page and its socket on one port. `frames_acknowledged` and `subscriptions` are what the page said."""

    def __init__(self, market: FakeMarket) -> None:
        self.market = market
        self.sockets: set[ServerConnection] = set()
        self.subscriptions: list[dict[str, Any]] = []
        self.frames_acknowledged: list[int] = []
        self.frame = 0
        self.auto = True  # answer a subscription with a snapshot
        self.accepts = True
        self.logged_in = True
        self.stale_ms = 5000
        self.opens_at: float | None = MARKET_TIME - 87 * 60
        self.closes_at: float | None = MARKET_TIME + 298 * 60
        self.with_snapshot = False
        self.empty = False
        self.started_at = time.time()
        self.address = ""

    # -- HTTP ----------------------------------------------------------------------------------------------------------
    def answer(self, _connection: ServerConnection, request: Request) -> Response | None:
        path = request.path.partition("?")[0]
        if path == "/ws/ticks/":
            return None if self.accepts else self._response(b"", "text/plain", HTTPStatus.SERVICE_UNAVAILABLE)
        if path.startswith("/static/"):
            found = finders.find(path.removeprefix("/static/"))
            if not isinstance(found, str):
                return self._response(b"", "text/plain", HTTPStatus.NOT_FOUND)
            with open(found, "rb") as file:
                return self._response(file.read(), mimetypes.guess_type(found)[0] or "text/plain")
        if path.startswith("/session/"):
            if not self.logged_in:
                return self._response(b"{}", "application/json", HTTPStatus.UNAUTHORIZED)
            return self._response(json.dumps(self.session().as_json()).encode(), "application/json")
        return self._response(self.html().encode(), "text/html; charset=utf-8")

    @staticmethod
    def _response(body: bytes, content_type: str, status: HTTPStatus = HTTPStatus.OK) -> Response:
        headers = Headers({"Content-Type": content_type, "Content-Length": str(len(body)), "Connection": "close"})
        headers["Content-Security-Policy"] = POLICY
        return Response(status.value, status.phrase, headers, body)

    def session(self) -> MarketSession:
        now = time.time()
        return MarketSession(now, MARKET_TIME + now - self.started_at, 1.0, self.opens_at, self.closes_at)

    def html(self) -> str:
        market = self.market
        followed = [Chain(market.underlying, market.expiry + timedelta(weeks=n), "NFO") for n in range(5)]
        followed += [Chain("BANKNIFTY", date(2026, 12, 29), "NFO"), Chain("SENSEX", date(2026, 12, 3), "BFO")]
        options, cash = None, None
        if self.with_snapshot:
            options, cash = (
                parse(encode(market.options(kind="snapshot"))),
                parse(encode(market.cash())),
            )
        page = chain_page(
            followed[0],
            [] if self.empty else market.contracts,
            followed=followed,
            today=TODAY,
            now=time.time(),
            source=market.source,
            options=options,
            underlying=cash,
        )
        context: dict[str, Any] = {"page": page, "session": self.session(), "exchange": "NFO", "source": page.source}
        context |= {"stale_ms": self.stale_ms, "slow_ms": int(self.stale_ms * 0.4)}
        context |= {"docs_url": "/api/docs/", "admin_url": "/admin/", "logout_url": "/logout/"}
        context["user"] = SimpleNamespace(get_username=lambda: "asha", is_staff=True)
        return render_to_string("dashboard/chain.html", context)

    # -- the socket ----------------------------------------------------------------------------------------------------
    async def talk(self, socket: ServerConnection) -> None:
        self.sockets.add(socket)
        try:
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "subscribe":
                    self.subscriptions.append(message)
                    if self.auto:
                        parts = ["nifty:2026-12-01", "nifty:underlying"]
                        await socket.send(json.dumps({"type": "ack", "id": message["id"], "parts": parts}))
                        await self.snapshot(socket)
                elif message["type"] == "ack":
                    self.frames_acknowledged.append(message["frame"])
        except ConnectionClosed:
            pass
        finally:
            self.sockets.discard(socket)

    async def snapshot(self, socket: ServerConnection) -> None:
        await self._send(
            [socket], "snapshot", [self.market.options(kind="snapshot"), self.market.cash(kind="snapshot")]
        )

    async def update(self, *parts: dict[str, Any]) -> None:
        """Send parts to every open page; both, moved by one step, by default."""
        if not parts:
            self.market.move()
            parts = (self.market.options(), self.market.cash())
        await self._send(self.sockets, "update", parts)

    async def _send(self, sockets: Iterable[ServerConnection], kind: str, parts: Iterable[dict[str, Any]]) -> None:
        self.frame += 1
        text = json.dumps({"type": kind, "frame": self.frame, "skipped": 0, "parts": list(parts)})
        for socket in list(sockets):
            with suppress(ConnectionClosed):
                await socket.send(text)

    @asynccontextmanager
    async def ticking(self, interval_seconds: float = 0.1) -> AsyncIterator[None]:
        """Updates of a random third of the chain, until the block ends."""

        async def tick() -> None:
            market = self.market
            while True:
                market.move()
                near = [c for c in market.contracts if market.dice.random() < 0.35]
                await self.update(market.options(near or market.contracts[:1]), market.cash())
                await asyncio.sleep(interval_seconds)

        task = asyncio.create_task(tick())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def cut(self, code: int = 1012) -> None:
        """Close every socket."""
        for socket in list(self.sockets):
            await socket.close(code)


@asynccontextmanager
async def fake_site(market: FakeMarket | None = None) -> AsyncIterator[FakeSite]:
    site = FakeSite(market or FakeMarket())
    server: Server
    async with serve(site.talk, "127.0.0.1", 0, process_request=site.answer, compression=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        site.address = f"http://127.0.0.1:{port}"
        yield site
