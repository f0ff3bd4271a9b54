"""What a stream process says about itself: one JSON value with a time to live. No key, no stream.

`/health`, the hub and the pages read it; nobody infers life from a socket's state.
"""

from typing import Any, TypedDict, cast

import orjson
import redis
import redis.asyncio as aioredis

from market.names import RedisNames
from streaming.loop_delay import Delays
from streaming.quarantine import RejectedTick

STATE_TTL_SECONDS = 10
STATE_EVERY_SECONDS = 1.0


class AccountState(TypedDict):
    status: str  # of its connections, the worst: open, stalled, connecting, waiting, awaiting_token, idle, closed
    subscriptions: int
    last_tick_at: float | None  # unix seconds


class SocketState(TypedDict):
    name: str
    state: str
    desired: int
    subscribed: int
    reconnects: int
    last_tick_at: float | None


class SlotState(TypedDict):
    """One of the three sockets that the broker allows an app, as the table says: every process writes all of them."""

    app: str  # the app's label
    slot: int  # 0, 1 or 2
    account: str  # the Kite user id that its socket is opened with; empty if no account may use it
    owner: str  # the process that holds it; empty if none does
    epoch: int
    seconds_left: float  # of its lease
    is_lost: bool  # held, but its account has no socket that works


class CapacityState(TypedDict):
    """Instruments, over all slots that are held."""

    used: int
    total: int
    free: int
    largest_chain: int  # of one underlying, all its parts
    free_after_another: int  # negative: another one as large would not fit


class UnconfirmedState(TypedDict):
    """An instrument that was subscribed and has not ticked since, although its market is open."""

    instrument_token: int
    tradingsymbol: str
    socket: str
    waiting_seconds: float
    tries: int  # subscribed so many times


class AlertState(TypedDict):
    """Something that a person has to look at. `kind` is for programs, `text` for people."""

    kind: str  # mute_feed
    account: str  # Kite user id
    socket: str
    text: str
    since: float


class PartState(TypedDict):
    """One underlying's options of one expiry, or its cash and futures."""

    name: str
    rows: int
    updates: int  # windows that brought it something, since the process began
    seq: int  # of the line that the last of them made; 0: none yet
    last_tick_at: float | None


class StreamState(TypedDict):
    """One process. Times are unix seconds of system time."""

    process: str
    running: bool
    source: str  # live | simulated | replay
    feed_state: str  # live | stale: whether prices come, as far as they should at this hour
    epoch: int
    started_at: float
    written_at: float
    active_subscriptions: int  # instruments that this process streams, derived ones included
    derived_subscriptions: int
    active_accounts: int
    accounts: dict[str, AccountState]
    sockets: list[SocketState]
    overflow: dict[str, str]  # parts that are not streamed, with the reason
    slots: list[SlotState]
    capacity: CapacityState
    unconfirmed: list[UnconfirmedState]  # those that wait longest, a hundred at most
    alerts: list[AlertState]
    counters: dict[str, int]
    rejected: list[RejectedTick]  # a sample of what was dropped or flagged, the newest first
    lag_seconds: float
    loop_delay: Delays  # how late the event loop runs what is due
    encode_seconds: float  # pricing and encoding the last window
    publisher: str  # the breaker: closed, half_open, open
    parts: list[PartState]


# What processes of an older version do not say of themselves.
_UNSAID: dict[str, Any] = {
    "slots": [],
    "capacity": CapacityState(used=0, total=0, free=0, largest_chain=0, free_after_another=0),
    "unconfirmed": [],
    "alerts": [],
    "encode_seconds": 0.0,
    "parts": [],
}


def encode(state: StreamState) -> bytes:
    return orjson.dumps(state)


async def write_state(client: "aioredis.Redis", names: RedisNames, state: StreamState) -> None:
    """Replace the process's state; it vanishes by itself when the process no longer writes."""
    await client.set(names.state(state["process"]), encode(state), ex=STATE_TTL_SECONDS)


async def erase_state(client: "aioredis.Redis", names: RedisNames, process: str) -> None:
    """A clean stop is visible at once."""
    await client.delete(names.state(process))


def read_states(client: "redis.Redis", names: RedisNames) -> list[StreamState]:
    """The states of all living stream processes, for `/health` and pages."""
    keys = list(client.scan_iter(match=names.states, count=1000))
    values = client.mget(keys) if keys else []
    return [cast(StreamState, _UNSAID | orjson.loads(value)) for value in values if value]
