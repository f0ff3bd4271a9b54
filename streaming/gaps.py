"""Watching for outages of the feed, socket by socket, for the ledger that `market.gaps` keeps.

Once a second it is judged, in memory, which sockets carry nothing although a market of theirs is open; what a socket
says itself when data comes back is precise to the tick. Writing is a step of its own: no tick waits for the database,
and what it does not take is written when it is back.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from typing import Final

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from accounts import clock
from accounts.cancellation import raise_if_cancelled
from accounts.clock import IST
from market import gaps
from market.calendar import Calendar
from market.gaps import Cause, Kept, Outage, open_spans
from streaming.connection import ConnectionState

logger = logging.getLogger(__name__)

LOOK_SECONDS: Final = 1.0
MARK_SECONDS: Final = 10.0
"""How often it is written down that the ledger is whole: a process that dies is missed from then on."""
RETRY_SECONDS: Final = 5.0
FINISH_SECONDS: Final = 2.0
MOVING_SECONDS: Final = 3.0
"""What moves to another socket is subscribed there after so long, and the broker has sent what it has."""
MOST_WAITING: Final = 1000
"""Outages that wait while the database is away."""


@dataclass(frozen=True, slots=True)
class Socket:
    """One of the broker's sockets: what it carries, and how it is. `last_tick_at` is system time, Unix seconds."""

    name: str
    state: ConnectionState
    tokens: Collection[int]
    last_tick_at: float | None
    flows: bool


@dataclass(frozen=True, slots=True)
class Feed:
    """All sockets at one moment. `is_silent`: some are open, a market is, and no data comes through any."""

    sockets: Sequence[Socket]
    exchange_of: Mapping[int, str]
    calendar: Calendar
    is_silent: bool


class GapWatch:
    """The outages of one process. `resumed` is called by sockets and returns at once; `run` does the work.

    `market_time` turns system time (Unix seconds) into market time. A socket that is open may stay without data for
    `patience_seconds` of a session.
    """

    def __init__(
        self,
        look: Callable[[], Feed | None],
        *,
        patience_seconds: float,
        market_time: Callable[[float], datetime] = lambda at: clock.at(datetime.fromtimestamp(at, UTC)),
        take_over: Callable[[], Kept] = gaps.take_over,
        keep: Callable[[Sequence[Outage], datetime], None] = gaps.keep,
        is_elsewhere: Callable[[str], bool] = lambda name: False,
        look_seconds: float = LOOK_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._look = look
        self._patience = timedelta(seconds=patience_seconds)
        self._market_time = market_time
        self._take_over = take_over
        self._keep = keep
        self._is_elsewhere = is_elsewhere
        self._look_seconds = look_seconds
        self._retry_seconds = retry_seconds
        self._started = market_time(time.time())
        self._resumed: deque[tuple[str, float | None, float]] = deque(maxlen=MOST_WAITING)
        self._moved: deque[tuple[frozenset[int], float, float]] = deque(maxlen=MOST_WAITING)
        self._is_to_inherit = False
        self._inherited: set[tuple[str, datetime]] = set()
        self._open: dict[str, Outage] = {}
        self._since: dict[str, datetime] = {}  # by socket: until then nothing was missed that is not in the ledger
        self._judged_until: datetime | None = None
        self._judged_at: float | None = None
        self._waiting: dict[tuple[str, datetime], Outage] = {}
        self._marked_at: float | None = None
        self._exchanges: dict[str, tuple[Collection[int], frozenset[str]]] = {}

    def resumed(self, name: str, last_tick_at: float | None, now: float) -> None:
        """Data comes again through a socket that was opened anew; before, it last came at `last_tick_at`."""
        self._resumed.append((name, last_tick_at, now))

    def moved(self, tokens: frozenset[int], last_carried_at: float, now: float) -> None:
        """Instruments have come here from another socket, which carried them until `last_carried_at`."""
        self._moved.append((tokens, last_carried_at, now))

    def inherit(self) -> None:
        """Another process has ended: what it left open is for those that live to close."""
        self._is_to_inherit = True

    async def run(self) -> None:
        """Watch until cancelled. Neither an absent database nor a mistake here ends the stream."""
        while True:
            wait = self._look_seconds
            try:
                if self._judged_until is None:
                    self.begin(await database_sync_to_async(self._take_over)())
                elif self._is_to_inherit:
                    kept: Kept = await database_sync_to_async(self._take_over)()
                    self._is_to_inherit = False
                    self._take_open(kept.left_open)
                elif (feed := self._look()) is not None:
                    self.judge(feed, time.time())
                    await self._write()
            except DatabaseError as exc:
                logger.warning("the ledger of gaps is not to be had from the database, trying again soon: %s", exc)
                wait = self._retry_seconds
            except Exception:  # whatever is wrong with the ledger must not cost anybody the prices
                logger.exception("outages of the feed could not be written down, and are lost")
                self._waiting.clear()
                wait = self._retry_seconds
            raise_if_cancelled()
            await asyncio.sleep(wait)

    async def finish(self) -> None:
        """Write down that nothing was missed until now, if the database takes it soon."""
        if self._judged_until is None or self._marked_at is None:
            return
        self._marked_at = None
        try:
            async with asyncio.timeout(FINISH_SECONDS):
                await self._write()
        except (TimeoutError, DatabaseError) as exc:
            logger.warning("until when the ledger of gaps is whole was not written down: %s", exc or "timed out")
        except Exception:  # a stop goes on with what was received, whatever is wrong here
            logger.exception("until when the ledger of gaps is whole was not written down")

    # --- judging: no I/O ----------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> Sequence[Outage]:
        """What is to be written, as it is now."""
        return list(self._waiting.values())

    def begin(self, kept: Kept) -> None:
        """Go on from the ledger as it was left. One that was never kept begins with this day."""
        midnight = datetime.combine(self._started.astimezone(IST).date(), time_of_day(), IST)
        # Simulated time may begin anew.
        self._judged_until = min(kept.until or midnight, self._started)
        self._take_open(kept.left_open)

    def _take_open(self, left: Sequence[Outage]) -> None:
        """Go on with what a process that ended left open; what a living one has open is its own."""
        for outage in left:
            if outage.feed not in self._open and not self._is_elsewhere(outage.feed):
                self._open[outage.feed] = outage
                self._inherited.add((outage.feed, outage.started_at))

    def judge(self, feed: Feed, now: float) -> None:
        """Open and close outages by what the sockets are like at `now` (system time, Unix seconds)."""
        market_now = self._market_time(now)
        before = self._judged_until or market_now
        is_first = self._judged_at is None or now - self._judged_at > self._patience.total_seconds()
        self._judged_at = now
        sockets = {socket.name: socket for socket in feed.sockets if socket.tokens}
        for name in sockets:
            self._since.setdefault(name, before)
        while self._resumed:
            name, last_tick_at, at = self._resumed.popleft()
            if name in sockets:
                self._resume(feed, sockets[name], last_tick_at, self._market_time(at))
        for socket in sockets.values():
            self._judge(feed, socket, market_now, unseen_since=before if is_first else None)
        if not feed.is_silent and any(socket.flows for socket in sockets.values()):
            # Of sockets that are no more, of a process that died perhaps: their instruments are on others now.
            for name in self._open.keys() - sockets.keys():
                if self._is_elsewhere(name) and (name, self._open[name].started_at) in self._inherited:
                    del self._open[name]
                else:
                    self._close(name, market_now)
        self._judge_moves(feed, sockets.values(), before if is_first else None, now)
        self._judged_until = market_now

    def _judge_moves(self, feed: Feed, sockets: Collection[Socket], first_after: datetime | None, now: float) -> None:
        """What was missed while instruments moved. A ledger that begins now covers it, if it was kept until then."""
        for _ in range(len(self._moved)):
            tokens, last_carried_at, moved_at = self._moved.popleft()
            if first_after is None and now - moved_at < MOVING_SECONDS:
                self._moved.append((tokens, last_carried_at, moved_at))
                continue
            since, until = self._market_time(last_carried_at), first_after or self._market_time(now)
            if first_after is not None and until - since < timedelta(seconds=2 * MARK_SECONDS):
                continue
            for socket in sockets:
                carried = tokens.intersection(socket.tokens)
                spans = open_spans(feed.calendar, self._exchanges_of(feed, socket), since, until) if carried else []
                if spans:
                    self._record(Outage(socket.name, Cause.MOVED, spans[0][0], carried, spans[-1][1]))

    def _resume(self, feed: Feed, socket: Socket, last_tick_at: float | None, at: datetime) -> None:
        last = None if last_tick_at is None else self._market_time(last_tick_at)
        known = self._since[socket.name]
        since = known if last is None else max(known, last)
        self._since[socket.name] = at
        if socket.name in self._open:
            self._close(socket.name, at, socket.tokens)
        elif spans := open_spans(feed.calendar, self._exchanges_of(feed, socket), since, at):
            start, end = spans[0][0], spans[-1][1]
            # Without data before it was no interruption but a first tick, which may take a moment.
            was_waited_for = since != last and start >= self._started and end - start <= self._patience
            if not was_waited_for:
                self._record(Outage(socket.name, self._cause(start, None), start, frozenset(socket.tokens), end))

    def _judge(self, feed: Feed, socket: Socket, now: datetime, *, unseen_since: datetime | None) -> None:
        name, exchanges = socket.name, self._exchanges_of(feed, socket)
        if not open_spans(feed.calendar, exchanges, now, now + timedelta(microseconds=1)):
            if name in self._open:
                spans = open_spans(feed.calendar, exchanges, self._open[name].started_at, now)
                self._close(name, spans[-1][1] if spans else now, socket.tokens)
            elif unseen_since and (missed := open_spans(feed.calendar, exchanges, unseen_since, now)):
                # Nobody looked while a market was open: no process ran, or it was held up.
                self._record(Outage(name, Cause.ABSENT, missed[0][0], frozenset(socket.tokens), missed[-1][1]))
            self._since[name] = now
            return
        if socket.last_tick_at is not None:
            self._since[name] = max(self._since[name], self._market_time(socket.last_tick_at))
        if socket.flows and not feed.is_silent:
            if name in self._open:
                self._close(name, self._since[name], socket.tokens)
        elif name not in self._open:
            spans = open_spans(feed.calendar, exchanges, self._since[name], now)
            if spans and (socket.state is not ConnectionState.OPEN or now - spans[0][0] > self._patience):
                cause = self._cause(spans[0][0], socket.state)
                self._record(Outage(name, cause, spans[0][0], frozenset(socket.tokens)))

    def _cause(self, start: datetime, state: ConnectionState | None) -> Cause:
        if state is ConnectionState.AWAITING_TOKEN:
            return Cause.LOGGED_OUT
        if start <= self._started:
            return Cause.ABSENT
        return Cause.SILENT if state is ConnectionState.OPEN else Cause.DISCONNECTED

    def _exchanges_of(self, feed: Feed, socket: Socket) -> frozenset[str]:
        tokens, exchanges = self._exchanges.get(socket.name, (None, frozenset[str]()))
        if tokens is not socket.tokens:
            exchanges = frozenset(feed.exchange_of[token] for token in socket.tokens if token in feed.exchange_of)
            self._exchanges[socket.name] = socket.tokens, exchanges
        return exchanges

    def _close(self, name: str, at: datetime, tokens: Collection[int] = ()) -> None:
        outage = self._open.pop(name)
        # Who came while it went on was not streamed either.
        self._record(replace(outage, ended_at=max(at, outage.started_at), tokens=outage.tokens | frozenset(tokens)))

    def _record(self, outage: Outage) -> None:
        if outage.ended_at is None:
            self._open[outage.feed] = outage
        since = f"{outage.started_at.astimezone(IST):%H:%M:%S}"
        until = "" if outage.ended_at is None else f" to {outage.ended_at.astimezone(IST):%H:%M:%S}"
        logger.warning("%s: nothing from %s%s: %s", outage.feed, since, until, outage.cause.label)
        self._waiting[outage.feed, outage.started_at] = outage
        while len(self._waiting) > MOST_WAITING:
            lost = self._waiting.pop(next(iter(self._waiting)))
            logger.error("an outage of %s is not in the ledger: the database has not taken any for long", lost.feed)

    # --- writing ------------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        """Write what waits, and now and then that the ledger is whole."""
        now = time.monotonic()
        is_marked = self._marked_at is not None and now - self._marked_at < MARK_SECONDS
        if self._judged_until is None or (is_marked and not self._waiting):
            return
        written = dict(self._waiting)
        await database_sync_to_async(self._keep)(list(written.values()), self._judged_until)
        self._marked_at = now
        for key, outage in written.items():
            if self._waiting.get(key) is outage:
                del self._waiting[key]
