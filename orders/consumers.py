"""`/ws/orders/`: what happens to orders, row by row, never conflated and resumable. The protocol is in
`docs/orders-websocket.md`; what all WebSockets have in common is in `accounts.socket_consumer`.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, ClassVar
from uuid import UUID

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from django.db.models import F, Q

from accounts.actions import Action
from accounts.authorisation import accounts_for
from accounts.principals import Principal
from accounts.socket_consumer import (
    DENIED,
    NOT_ACKNOWLEDGED,
    TRY_AGAIN,
    BadMessage,
    SocketConsumer,
    error_frame,
)
from orders import metrics
from orders.models import OrderTask, TradingState
from orders.news import can_resume
from orders.news_hub import NewsHub, Reader, Row, news_hub
from orders.news_messages import (
    Ack,
    Subscribe,
    news_frame,
    read_client_message,
    snapshot_frame,
    subscribed_frame,
)
from orders.news_window import Pacing, Window
from orders.serializers import OrderTaskSerializer
from orders.states import OPEN, Status

TASKS_A_FRAME = 200
RETRY_SECONDS = 1.0


class OrdersConsumer(SocketConsumer):
    """One client of `/ws/orders/`."""

    action = Action.READ
    closed_counter = metrics.NEWS_CLIENTS_CLOSED
    pacing: ClassVar[Pacing] = Pacing()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._hub: NewsHub | None = None
        self._reader: Reader | None = None
        self._window = Window(self.pacing)
        self._accounts: dict[int, UUID] = {}
        self._has_subscribed = False
        self._has_caught_up = False
        await super().__call__(scope, receive, send)

    def sockets_open(self, principal: str) -> tuple[int, int]:
        hub = news_hub()
        return len(hub.clients), hub.sockets_of(principal)

    async def enter(self, principal: Principal) -> None:
        self._hub, self._reader = news_hub(), Reader(principal.name)
        self._hub.join(self._reader)

    async def leave(self) -> None:
        if self._hub is not None and self._reader is not None:
            await self._hub.leave(self._reader)

    # --- what the client says ----------------------------------------------------------------------------------------

    async def hear(self, text: str) -> None:
        assert self._hub is not None and self._reader is not None  # noqa: S101, PT018 - who has not entered is not heard
        only = self.scope.get("url_route", {}).get("kwargs", {}).get("account")
        match read_client_message(text, only=only):
            case Ack(frame):
                try:
                    self._window.acknowledge(frame)
                except ValueError as exc:
                    raise BadMessage("bad_acknowledgement", str(exc)) from None
                self._reader.wake.set()
            case Subscribe() as asked:
                if self._has_subscribed:
                    raise BadMessage("already_subscribed", "A socket subscribes once: open another one.")
                try:
                    await self._subscribe(self._hub, self._reader, asked)
                except DatabaseError:
                    raise BadMessage("unavailable", "Orders cannot be read now; try again.") from None

    async def _subscribe(self, hub: NewsHub, reader: Reader, asked: Subscribe) -> None:
        readable = await database_sync_to_async(_readable)(self.principal)
        wanted = readable if asked.accounts is None else asked.accounts
        unknown = sorted(str(account) for account in {*wanted, *asked.last_seq} - readable.keys())
        if unknown:
            raise BadMessage("unknown_account", "You may not read these accounts.", {"accounts": unknown})
        accounts = {readable[account]: account for account in wanted}
        heads = await hub.follow(reader, accounts)
        had = {key: asked.last_seq[account] for key, account in accounts.items() if account in asked.last_seq}
        resumed = await database_sync_to_async(_resumable)(had)
        # How things stand is read after the number from which rows are sent: what lies between is told twice.
        stands = {key: await database_sync_to_async(_how_it_stands)(key) for key in accounts if key not in resumed}
        self._has_subscribed, self._accounts = True, accounts
        begins = {key: resumed.get(key, heads[key]) for key in accounts}
        await self.send_frame(
            subscribed_frame({account: (begins[key], key in resumed) for key, account in accounts.items()})
        )
        for key, (tasks, states) in stands.items():
            await self._send_snapshot(accounts[key], heads[key], tasks, states)
        reader.positions = begins
        reader.wake.set()

    async def _send_snapshot(
        self, account: UUID, seq: int, tasks: Sequence[dict[str, Any]], states: Sequence[dict[str, Any]]
    ) -> None:
        parts = [tasks[at : at + TASKS_A_FRAME] for at in range(0, len(tasks), TASKS_A_FRAME)] or [[]]
        for number, part in enumerate(parts, 1):
            frame = self._window.sent(time.monotonic())
            await self.send_frame(snapshot_frame(frame, account, seq, part, states, is_last=number == len(parts)))

    # --- what the client is sent ------------------------------------------------------------------------------------

    async def send_news(self) -> int:
        """Send each row, in order, as the client takes them. Returns the code to close with."""
        hub, reader, window = self._hub, self._reader, self._window
        assert hub is not None and reader is not None  # noqa: S101, PT018 - the sender starts after entering
        not_before = 0.0
        while True:
            reader.wake.clear()
            if hub.has_ended:
                return TRY_AGAIN
            now = time.monotonic()
            if now >= window.overdue_at():
                return NOT_ACKNOWLEDGED
            if now >= self.recheck_at and (code := await self.recheck()) is not None:
                return code
            behind = hub.behind(reader)
            if not behind:
                self._has_caught_up = self._has_subscribed
            elif self._has_caught_up and behind > self.pacing.rows_behind:
                return NOT_ACKNOWLEDGED  # it is too slow; nothing is lost, it resumes where it was
            send_at = max(window.may_send_at(), not_before) if behind else float("inf")
            if send_at <= now:
                try:
                    rows = await self._next_rows(hub, reader)
                except DatabaseError:
                    not_before = now + RETRY_SECONDS
                    continue
                if rows is None:
                    return TRY_AGAIN
                await self.send_frame(news_frame(window.sent(time.monotonic()), (row.text for row in rows)))
                metrics.NEWS_ROWS.inc(len(rows))
                continue
            try:
                async with asyncio.timeout(min(send_at, window.overdue_at(), self.recheck_at) - now):
                    await reader.wake.wait()
            except TimeoutError:
                pass

    async def _next_rows(self, hub: NewsHub, reader: Reader) -> list[Row] | None:
        """A frame's rows, account by account. None if one is not there any more: it has to begin anew."""
        rows: list[Row] = []
        for key, seq in list(reader.positions.items()):
            if seq >= hub.feeds[key].head:
                continue
            found = await hub.rows_after(key, seq, self.pacing.rows_a_frame - len(rows))
            if not found or found[0].seq != seq + 1:
                return None
            rows += found
            reader.positions[key] = found[-1].seq
            if len(rows) >= self.pacing.rows_a_frame:
                break
        return rows

    async def recheck(self) -> int | None:
        """Also: each account by itself. What may not be read any more is not sent any more."""
        code = await super().recheck()
        if code is not None or not self._accounts or self._hub is None or self._reader is None:
            return code
        try:
            readable = await database_sync_to_async(_readable)(self.principal)
        except DatabaseError:
            return None  # said by `super`, and asked again soon
        gone = {key: account for key, account in self._accounts.items() if account not in readable}
        if gone:
            self._hub.unfollow(self._reader, gone)
            self._accounts = {key: account for key, account in self._accounts.items() if key not in gone}
            details = {"accounts": sorted(map(str, gone.values()))}
            await self.send_frame(error_frame(None, "account_gone", "You may not read these any more.", details))
        return None if self._accounts else DENIED


def _readable(principal: Principal | None) -> dict[UUID, int]:
    return dict(accounts_for(principal, Action.READ).values_list("public_id", "pk"))


def _resumable(had: dict[int, int]) -> dict[int, int]:
    return {key: seq for key, seq in had.items() if can_resume(key, seq)}


def _how_it_stands(account_id: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The account's tasks that are not at an end, dead letters included, and what is stopped."""
    tasks = OrderTask.objects.filter(account=account_id, status__in=[*OPEN, Status.DEAD_LETTER]).order_by("pk")
    shown = OrderTaskSerializer(tasks.select_related("account").prefetch_related("broker_orders"), many=True).data
    stopped = TradingState.objects.filter(Q(account=None) | Q(account=account_id)).exclude(
        state=TradingState.State.ACTIVE
    )
    states = stopped.order_by(F("account").asc(nulls_first=True), "strategy")
    return [dict(task) for task in shown], [
        {
            "scope": "everything" if state.account_id is None else "strategy" if state.strategy else "account",
            "state": state.state,
            "strategy": state.strategy,
            "reason": state.reason,
            "set_by": state.set_by,
            "epoch": state.epoch,
        }
        for state in states
    ]
