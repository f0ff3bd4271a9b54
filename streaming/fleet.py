"""All accounts of this process: which slots it holds, what each account carries, and what the other processes hold.

The tables say who holds what (`streaming.placing`); this follows them. Slots that are lost are let go of at once,
whether or not the database can be asked.
"""

import asyncio
import logging
import math
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from channels.db import database_sync_to_async

from streaming import placing
from streaming.allocation import Forecast, Place, forecast, overflow
from streaming.contracts import Contract
from streaming.desired import Desired
from streaming.feed import Feed, FeedOptions
from streaming.feed_account import FeedAccount
from streaming.leases import HeldSlot, LeaseTiming
from streaming.placing import Asker, View
from streaming.socket_names import socket_name
from streaming.state import AlertState, CapacityState, SlotState
from streaming.wire_requests import Mode

logger = logging.getLogger(__name__)


class Leases(Protocol):
    """What a fleet asks of `SlotLeases`."""

    owner: UUID
    name: str
    timing: LeaseTiming
    held: dict[int, HeldSlot]

    @property
    def still_dialled(self) -> frozenset[int]: ...

    def when_changed(self, tell: Callable[[], None]) -> None: ...

    def take(self, pk: int, *, app_id: int, number: int, epoch: int, sent_at: float) -> HeldSlot: ...

    def tell_lost(self, slots: Collection[int]) -> bool: ...

    async def run(self) -> None: ...

    async def renew(self) -> bool: ...

    async def release(self, *slots: HeldSlot) -> None: ...

    async def leave(self) -> None: ...


@dataclass(eq=False)
class Fleet:
    """The feeds of one process. `look` asks the tables, `follow` does as they say; `nudge` asks for a look soon."""

    options: FeedOptions
    leases: Leases
    nudge: Callable[[], None]
    ask: Callable[[Asker, Desired], View | None] = placing.look
    view: View | None = field(default=None, init=False)
    seen: asyncio.Event = field(default_factory=asyncio.Event, init=False)  # a first look has succeeded
    feeds: dict[FeedAccount, Feed] = field(default_factory=dict, init=False)
    _desired: Desired | None = field(default=None, init=False)
    _before: Mapping[str, Place] = field(default_factory=dict, init=False)
    _carried: "_Carried | None" = field(default=None, init=False)
    _seen_at: float = field(default=0.0, init=False)
    _forecast: Forecast = field(default=Forecast(0, 0, 0), init=False)

    def __post_init__(self) -> None:
        self.leases.when_changed(self._leases_changed)

    @property
    def owner(self) -> str:
        return str(self.leases.owner)

    @property
    def placement(self) -> Mapping[str, Place]:
        """Of all processes."""
        return self.view.placement if self.view else {}

    @property
    def members(self) -> frozenset[UUID]:
        """The living processes, this one among them."""
        return frozenset(self.view.members) if self.view else frozenset()

    @property
    def is_oldest(self) -> bool:
        """Whether this one has lived longest."""
        return self.view is not None and next(iter(self.view.members), None) == self.leases.owner

    @property
    def parts(self) -> frozenset[str]:
        """Those that this process writes."""
        return frozenset(part for part, place in self.placement.items() if place.owner == self.owner)

    # --- following ----------------------------------------------------------------------------------------------------

    async def look(self, desired: Desired) -> View | None:
        """Take what is to be taken, and see who streams what. None if `desired` has to be loaded anew first.

        Raises DatabaseError without a database.
        """
        leases = self.leases
        asker = Asker(
            owner=leases.owner,
            held=frozenset(leases.held),
            closing=leases.still_dialled,
            parts=self.parts,
            timing=leases.timing,
        )
        sent_at = time.monotonic()
        view: View | None = await database_sync_to_async(self.ask)(asker, desired)
        if view is None:
            return None
        for row in view.taken:
            leases.take(row.pk, app_id=row.app_id, number=row.number, epoch=row.epoch, sent_at=sent_at)
            logger.info("socket %d of %s is ours, for %s", row.number + 1, row.app, row.account or "nobody")
        self.seen.set()
        self._before = self.placement
        self.view, self._desired, self._seen_at = view, desired, time.monotonic()
        # Every instrument is gone through: once a look, not with each writing of the state.
        self._forecast = forecast(desired.demands, placing.homes_of(view.slots))
        return view

    async def follow(self, group: asyncio.TaskGroup) -> None:
        """Make the feeds what the last look has found: accounts, slots, and what each carries."""
        desired = self._desired
        if desired is None:
            return
        for account in self.feeds.keys() - set(desired.accounts):
            await self.feeds.pop(account).stop()
        for account in desired.accounts:
            if account not in self.feeds:
                self.feeds[account] = feed = Feed(account, self.options)
                feed.start(group)
        self._hold()
        self._carry(desired)

    def moved(self) -> dict[float, frozenset[int]]:
        """What the last look has brought here: instruments by the seconds for which nobody has carried them."""
        if self.view is None or self._desired is None or not self.view.missed:
            return {}
        found: defaultdict[float, set[int]] = defaultdict(set)
        for one in self._desired.streamed:
            place = self.placement.get(one.part)
            if place is None or place.owner != self.owner or place.account is None or one.part not in self.view.missed:
                continue
            was = self._before.get(one.part)
            if was is None or (was.owner, was.account) != (place.owner, place.account):
                found[self.view.missed[one.part]].add(one.instrument_token)
        return {seconds: frozenset(tokens) for seconds, tokens in found.items()}

    def is_elsewhere(self, socket: str) -> bool:
        """Whether another process holds the slot of the socket of this name."""
        return any(
            socket == socket_name(row.account, row.number) and row.is_held and row.owner != self.leases.owner
            for row in (self.view.slots if self.view else ())
        )

    async def give_up(self) -> bool:
        """Close and give back the slot that the last look named, if it did."""
        row = self.view.give_up if self.view else None
        if row is None or (slot := self.leases.held.pop(row.pk, None)) is None:
            return False
        logger.info("socket %d of %s is given up: another process has none too many", row.number + 1, row.app)
        self._hold()
        await asyncio.gather(*(feed.pool.closed(slot) for feed in self.feeds.values()))
        await self.leases.release(slot)
        return True

    async def stop(self) -> None:
        """Close all sockets, and then give back all slots."""
        feeds, self.feeds = list(self.feeds.values()), {}
        await asyncio.gather(*(feed.stop() for feed in feeds))
        await self.leases.leave()

    def relieve(self) -> None:
        """Have sockets that are open carry what others of their account, which will not be for long, do not."""
        for feed in self.feeds.values():
            feed.relieve()

    def note_lost(self) -> bool:
        """Have it written down which accounts have no working socket. Whether that has changed."""
        lost = {account.name for account, feed in self.feeds.items() if feed.is_lost()}
        rows = self.view.slots if self.view else ()
        return self.leases.tell_lost([row.pk for row in rows if row.account in lost and row.pk in self.leases.held])

    def _leases_changed(self) -> None:
        self._hold()
        self.nudge()

    def _hold(self) -> None:
        """Give each feed its slots."""
        if self.view is None:
            return
        held: defaultdict[str, list[HeldSlot]] = defaultdict(list)
        firsts: dict[str, int] = {}  # an account's first socket is open even without ticks: it tells of orders
        for row in self.view.slots:
            firsts.setdefault(row.account, row.number)
            if (slot := self.leases.held.get(row.pk)) is not None:
                held[row.account].append(slot)
        for account, feed in self.feeds.items():
            feed.pool.hold(held[account.name], always=[firsts[account.name]] if account.name in firsts else ())

    def _carry(self, desired: Desired) -> None:
        if self._carried is None or self._carried.desired is not desired or self._carried.placement != self.placement:
            self._carried = _carried_by(self.owner, desired, self.placement)
        for account, feed in self.feeds.items():
            feed.carry(self._carried.modes.get(account.name, {}), self._carried.exchanges.get(account.name, set()))

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def open_connections(self) -> int:
        return sum(feed.pool.open_connections for feed in self.feeds.values())

    @property
    def carrying(self) -> list[Feed]:
        """The feeds that have something to carry."""
        return [feed for feed in self.feeds.values() if feed.exchanges]

    @property
    def is_stale(self) -> bool:
        """Whether no account brings the prices that it should."""
        return all(feed.is_stale for feed in self.carrying) if self.carrying else not self.open_connections

    def stale_parts(self) -> frozenset[str]:
        """Those of this process's parts whose prices do not come, or go through no account."""
        live = {feed.account.name for feed in self.carrying if not feed.is_stale}
        return frozenset(
            part for part, place in self.placement.items() if place.owner == self.owner and place.account not in live
        )

    def nudge_tokens(self, account: str | None) -> None:
        """Somebody may have logged in."""
        for feed in self.feeds.values():
            if account in (None, feed.account.name):
                feed.tokens.nudge.set()

    def overflow(self) -> dict[str, str]:
        return overflow(self.placement)

    def alerts(self) -> list[AlertState]:
        """What a person has to look at."""
        return [
            AlertState(
                kind="mute_feed",
                account=account.name,
                socket=connection.name,
                text=f"Dialled anew {connection.mutes} times, and no data comes although the market is open.",
                since=connection.mute_since,
            )
            for account, feed in self.feeds.items()
            for connection in feed.pool.connections
            if connection.is_mute
        ]

    def slot_states(self) -> list[SlotState]:
        if self.view is None:
            return []
        passed = time.monotonic() - self._seen_at
        states: list[SlotState] = []
        for row in self.view.slots:
            mine = self.leases.held.get(row.pk)
            left = row.seconds_left - passed if mine is None else mine.seconds_left + self._grace_after_fence()
            is_held = mine is not None or (row.is_held and row.owner != self.leases.owner)
            states.append(
                SlotState(
                    app=row.app,
                    slot=row.number,
                    account=row.account,
                    owner=self._name_of(row.owner if mine is None else self.leases.owner) if is_held else "",
                    epoch=row.epoch,
                    seconds_left=round(max(left, 0.0), 1) if is_held and math.isfinite(left) else 0.0,
                    is_lost=row.is_lost,
                )
            )
        return states

    def capacity_state(self) -> CapacityState:
        found = self._forecast
        return CapacityState(
            used=found.used,
            total=found.total,
            free=found.free,
            largest_chain=found.largest_chain,
            free_after_another=found.free_after_another,
        )

    def _grace_after_fence(self) -> float:
        return self.leases.timing.lease - self.leases.timing.fence

    def _name_of(self, owner: UUID | None) -> str:
        if owner == self.leases.owner:
            return self.leases.name
        return self.view.members.get(owner, str(owner)) if self.view and owner else ""


def tokens_of(desired: Desired, placement: Mapping[str, Place]) -> dict[int, str]:
    """The part of every instrument that some process streams."""
    return {one.instrument_token: one.part for one in desired.streamed if one.part in placement}


@dataclass(frozen=True, slots=True)
class _Carried:
    """What each account carries for one process: modes by instrument, and exchanges."""

    desired: Desired
    placement: Mapping[str, Place]
    modes: Mapping[str, dict[int, Mode]]
    exchanges: Mapping[str, set[str]]


def _carried_by(owner: str, desired: Desired, placement: Mapping[str, Place]) -> _Carried:
    modes: defaultdict[str, dict[int, Mode]] = defaultdict(dict)
    exchanges: defaultdict[str, set[str]] = defaultdict(set)
    for one in desired.streamed:
        place = placement.get(one.part)
        if place is not None and place.owner == owner and place.account is not None:
            modes[place.account][one.instrument_token] = one.mode
            exchanges[place.account].add(one.exchange)
    return _Carried(desired, placement, modes, exchanges)


def contracts_of(desired: Desired, parts: Iterable[str]) -> list[Contract]:
    """The contracts of these parts."""
    wanted = frozenset(parts)
    return [contract for one, contract in zip(desired.streamed, desired.contracts, strict=True) if one.part in wanted]
