"""Stream processes as their state keys tell of them, and readings, for tests of what people are told."""

import time
from collections.abc import Iterable
from datetime import datetime
from typing import Any, cast

from accounts.clock import IST
from market.calendar import Session
from streaming.health import Registry, ServiceHealth
from streaming.health_reading import Reading, Tables
from streaming.state import AccountState, CapacityState, PartState, SocketState, StreamState

TEN_FORTY_TWO = datetime(2026, 11, 25, 10, 42, 7, tzinfo=IST)
OPENS = datetime(2026, 11, 25, 9, 15, tzinfo=IST)
CLOSES = datetime(2026, 11, 25, 15, 30, tzinfo=IST)
NO_TABLES = Tables()
SESSION = Session("NFO", "derivatives", OPENS.date(), "regular", OPENS, CLOSES, verified=True)


def socket(name: str = "AB1234 socket 1", *, age: float | None = 0.2, at: float = 0.0, **changes: Any) -> SocketState:
    """A socket whose last price is `age` seconds old at `at` (system time, or now)."""
    last = None if age is None else (at or time.time()) - age
    made = SocketState(name=name, state="open", desired=300, subscribed=300, reconnects=0, last_tick_at=last)
    return cast(SocketState, {**made, **changes})


def stream(
    sockets: Iterable[SocketState] | None = None, *, process: str = "stream-1", at: float = 0.0, **changes: Any
) -> StreamState:
    """A process that is well, as it has just written of itself."""
    now = at or time.time()
    held = [socket(at=now)] if sockets is None else list(sockets)
    accounts: dict[str, AccountState] = {}
    for one in held:
        accounts[one["name"].partition(" socket ")[0]] = AccountState(
            status=one["state"], subscriptions=one["subscribed"], last_tick_at=one["last_tick_at"]
        )
    part = PartState(name="nifty:2026-12-01", rows=162, updates=900, seq=1800, last_tick_at=now - 0.1)
    made = StreamState(
        process=process,
        running=True,
        source="simulated",
        feed_state="live",
        epoch=1,
        started_at=now - 600,
        written_at=now,
        active_subscriptions=sum(one["desired"] for one in held),
        derived_subscriptions=2,
        active_accounts=len(accounts),
        accounts=accounts,
        sockets=held,
        overflow={},
        slots=[],
        capacity=CapacityState(used=300, total=9000, free=8700, largest_chain=300, free_after_another=8400),
        unconfirmed=[],
        alerts=[],
        counters={"ticks": 100_000, "windows": 6_000},
        rejected=[],
        lag_seconds=0.002,
        loop_delay={"p50": 0.0, "p99": 0.0, "p999": 0.0, "busy_p999": 0.0},
        encode_seconds=0.003,
        publisher="closed",
        parts=[part],
    )
    return cast(StreamState, {**made, **changes})


def reading(streams: Iterable[StreamState], *, at: float = 0.0, tables: Tables = NO_TABLES, **changes: Any) -> Reading:
    """A reading in market hours, with everything the streams depend on well unless `changes` says otherwise."""
    session = changes.pop("session", SESSION)
    market_time = changes.pop("market_time", TEN_FORTY_TWO)
    registry = Registry(status="ok", instruments=115_000, imported_at=OPENS, added=12, retired=3)
    health: dict[str, Any] = {
        "database": "ok",
        "redis": "ok",
        "registry": registry,
        "feed": "ok",
        "reasons": (),
        "breakers": {},
    }
    found = ServiceHealth(**health | {"streams": tuple(streams)} | changes)
    return Reading(at or time.time(), market_time, session, "", found, tables)
