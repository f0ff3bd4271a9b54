"""Taking slots and placing parts, for all processes alike: one transaction on the tables that they share.

Whoever looks takes what it should hold, places what is to be streamed by what everybody holds, and writes down what
changed; the others are told, and find the same.
"""

import logging
import math
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_changes
from datetime import datetime

from django.db import connection, transaction
from django.utils import timezone

from accounts.control import announce
from accounts.models import TradingAccount
from streaming import shares
from streaming.allocation import Home, PartDemand, Place, allocate, even_out, overflow
from streaming.control import STREAMS_CHANGED
from streaming.desired import Desired, mark, next_epoch
from streaming.feed_account import FeedAccount
from streaming.leases import LeaseTiming
from streaming.models import StreamMember, StreamPart
from streaming.shares import SlotRow
from streaming.wire_requests import CONNECTIONS_PER_APP, TOKENS_PER_CONNECTION

logger = logging.getLogger(__name__)

# One who places at a time. Any fixed number serves; this one spells "part" in ASCII.
LOCK = 0x70617274
FROZEN_SECONDS = 3
DRAINING = "the broker may still count the sockets of a process that has ended: they are dialled once it cannot"
_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class Asker:
    """The process that looks: who it is, what it holds (slots), whose sockets are still closing, and what it writes."""

    owner: uuid.UUID
    held: frozenset[int]
    closing: frozenset[int]
    parts: frozenset[str]
    timing: LeaseTiming
    capacity: int = TOKENS_PER_CONNECTION


@dataclass(frozen=True, slots=True)
class View:
    """What the tables say, the same to every process.

    `missed`: how many seconds ago a part that has moved was last carried where it was before.
    `taken`: slots that the asker has taken now. `give_up`: one that it should close and give back. `epoch`: a new one,
    if it has gained anything. `again`: seconds until a slot or a process runs out, and it is worth looking again.
    """

    slots: Sequence[SlotRow]
    members: Mapping[uuid.UUID, str]
    placement: Mapping[str, Place]
    missed: Mapping[str, float] = field(default_factory=dict)
    taken: Sequence[SlotRow] = ()
    give_up: SlotRow | None = None
    epoch: int | None = None
    again: float = math.inf


def account_of_slot(accounts: Sequence[FeedAccount], number: int) -> FeedAccount | None:
    """Of the accounts of one app, the preferred one first: the one whose socket slot `number` is.

    The sockets of one that is alone are all its own; where there are more than three, some have none.
    """
    return accounts[number % len(accounts)] if accounts else None


def homes_of(slots: Iterable[SlotRow], *, capacity: int = TOKENS_PER_CONNECTION) -> list[Home]:
    """What each process holds of each account. An account is lost where all its sockets are."""
    held: defaultdict[tuple[str, str], list[SlotRow]] = defaultdict(list)
    for slot in slots:
        if slot.is_held and slot.account:
            held[str(slot.owner), slot.account].append(slot)
    return [
        Home(owner, account, capacity * len(rows), is_lost=all(row.is_lost for row in rows))
        for (owner, account), rows in sorted(held.items())
    ]


def look(asker: Asker, desired: Desired) -> View | None:
    """Take, place, and say how it is now; None if `desired` is out of date and has to be loaded anew first.

    Raises DatabaseError without a database.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Who is frozen in the middle of it must not keep the others from taking over.
            cursor.execute("select set_config('idle_in_transaction_session_timeout', %s, true)", [f"{FROZEN_SECONDS}s"])
            cursor.execute("select pg_advisory_xact_lock(%s)", [LOCK])
        if mark() != desired.mark:
            return None
        slots, members = _read(desired.accounts), _members()
        slots, taken = _take(asker, slots, members)
        homes = homes_of(slots, capacity=asker.capacity)
        demands = desired.demands
        before = _placement()
        owners = [str(owner) for owner in members]
        placement = allocate(demands, homes, owners, before)
        if not homes and any(slot.is_draining for slot in slots):
            placement = {part: with_changes(place, reason=DRAINING) for part, place in placement.items()}
        if placement == before:
            placement = even_out(demands, homes, placement)
        has_changed = _write(before, placement, members)
        mine = {part for part, place in placement.items() if place.owner == str(asker.owner)}
        gains = bool(taken) or not mine <= asker.parts
        if taken or has_changed:
            announce({"type": STREAMS_CHANGED})
        return View(
            slots=slots,
            members=members,
            placement=placement,
            missed=_missed(),
            taken=taken,
            give_up=_to_give_up(asker, slots, members, demands, placement),
            epoch=next_epoch() if gains else None,
            again=_soonest(asker, slots),
        )


def _read(accounts: Sequence[FeedAccount]) -> list[SlotRow]:
    """The slots of every app that an account may feed from; rows that are missing are made."""
    by_app: defaultdict[int, list[FeedAccount]] = defaultdict(list)
    for account in accounts:
        by_app[account.app_id].append(account)
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into streaming_streamslot (app_id, number, epoch, is_lost)"
            " select app, number, 0, false from unnest(%s::bigint[]) app, generate_series(0, %s) number"
            " where (app, number) not in (select app_id, number from streaming_streamslot) on conflict do nothing",
            [list(by_app), CONNECTIONS_PER_APP - 1],
        )
        cursor.execute(
            "select id, app_id, number, owner, epoch, is_lost,"
            " extract(epoch from lease_until - now())::float, extract(epoch from drained_after - now())::float"
            " from streaming_streamslot where app_id = any(%s) order by app_id, number",
            [list(by_app)],
        )
        rows = cursor.fetchall()
    found = []
    for pk, app_id, number, owner, epoch, is_lost, left, drains_in in rows:
        user = account_of_slot(by_app[app_id], number)
        found.append(
            SlotRow(
                pk=pk,
                app_id=app_id,
                app=by_app[app_id][0].app,
                number=number,
                account=user.name if user else "",
                owner=owner,
                epoch=epoch,
                seconds_left=-math.inf if left is None else left,
                drains_in=-math.inf if drains_in is None else drains_in,
                is_lost=is_lost,
            )
        )
    return found


def _members() -> dict[uuid.UUID, str]:
    """The living processes by owner, the oldest first; those long dead are forgotten."""
    with connection.cursor() as cursor:
        cursor.execute("delete from streaming_streammember where lease_until < now() - interval '1 h'")
        cursor.execute(
            "select owner, name from streaming_streammember where lease_until > now() order by started_at, owner"
        )
        return dict(cursor.fetchall())


def _take(
    asker: Asker, slots: Sequence[SlotRow], members: Mapping[uuid.UUID, str]
) -> tuple[list[SlotRow], list[SlotRow]]:
    """The slots with those taken by the asker, and the latter alone.

    To itself, what it does not hold any more (though its row still says so) is free, once the socket is closed.
    """
    seen = [
        with_changes(slot, seconds_left=-1.0) if slot.owner == asker.owner and slot.pk not in asker.held else slot
        for slot in slots
    ]
    taken: dict[int, SlotRow] = {}
    for slot in shares.to_take(asker.owner, members, seen, closing=asker.closing):
        with connection.cursor() as cursor:
            cursor.execute(
                "update streaming_streamslot set owner = %(owner)s, epoch = epoch + 1, is_lost = false,"
                " lease_until = now() + %(lease)s * interval '1 s', drained_after = now() + %(drain)s * interval '1 s'"
                " where id = %(id)s and (owner is null or owner = %(owner)s"
                " or (lease_until < now() and drained_after < now())) returning epoch",
                {"owner": asker.owner, "id": slot.pk, "lease": asker.timing.lease, "drain": asker.timing.drain},
            )
            row = cursor.fetchone()
        if row is not None:
            taken[slot.pk] = with_changes(
                slot,
                owner=asker.owner,
                epoch=row[0],
                is_lost=False,
                seconds_left=asker.timing.lease,
                drains_in=asker.timing.drain,
            )
    return [taken.get(slot.pk, slot) for slot in seen], list(taken.values())


def _placement() -> dict[str, Place]:
    rows = StreamPart.objects.values_list("part", "owner", "account__kite_user_id", "reason")
    return {part: Place(str(owner or ""), account, reason) for part, owner, account, reason in rows}


def _missed() -> dict[str, float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select part, extract(epoch from now() - missed_since)::float from streaming_streampart"
            " where missed_since is not null"
        )
        return dict(cursor.fetchall())


def _last_carried(place: Place, members: Mapping[uuid.UUID, str], now: datetime) -> datetime:
    """Until when a part was carried where it was: until now, or until the last sign of life of who carried it."""
    owner = uuid.UUID(place.owner)
    if owner in members:
        return now
    return StreamMember.objects.filter(owner=owner).values_list("seen_at", flat=True).first() or now


def _write(before: Mapping[str, Place], placement: Mapping[str, Place], members: Mapping[uuid.UUID, str]) -> bool:
    """Bring the table up to date; whether anything has changed."""
    gone = before.keys() - placement.keys()
    changed = {part: place for part, place in placement.items() if before.get(part) != place}
    if not (gone or changed):
        return False
    if gone:
        StreamPart.objects.filter(part__in=gone).delete()
    accounts = dict(TradingAccount.objects.values_list("kite_user_id", "pk"))
    now = timezone.now()
    moved = {
        part: _last_carried(was, members, now)
        for part, place in changed.items()
        if (was := before.get(part)) is not None
        and was.account is not None
        and (was.owner, was.account) != (place.owner, place.account)
    }
    StreamPart.objects.bulk_create(
        [
            StreamPart(
                part=part,
                owner=uuid.UUID(place.owner),
                account_id=accounts.get(place.account) if place.account else None,
                reason=place.reason[:_LONGEST_REASON],
                missed_since=moved.get(part),
            )
            for part, place in changed.items()
        ],
        update_conflicts=True,
        unique_fields=["part"],
        update_fields=["owner", "account", "reason", "missed_since"],
    )
    for part, place in changed.items():
        if place.reason and (part not in before or before[part].reason != place.reason):
            logger.error("%s is not streamed: %s", part, place.reason)
    return True


def _to_give_up(
    asker: Asker,
    slots: Sequence[SlotRow],
    members: Mapping[uuid.UUID, str],
    demands: Collection[PartDemand],
    placement: Mapping[str, Place],
) -> SlotRow | None:
    """One slot more than its share, if everything that is streamed would still be without the asker having it."""
    due = shares.shares(members, slots)
    holds = {owner: sum(slot.is_held and slot.owner == owner for slot in slots) for owner in due}
    neediest = max(due, key=lambda owner: (due[owner] - holds[owner], owner), default=None)
    if neediest is None or due[neediest] <= holds[neediest]:
        return None
    for candidate in shares.to_give_up(asker.owner, members, slots):
        given = [with_changes(slot, owner=neediest) if slot.pk == candidate.pk else slot for slot in slots]
        then = allocate(demands, homes_of(given, capacity=asker.capacity), [str(one) for one in members], placement)
        if overflow(then).keys() <= overflow(placement).keys():
            return candidate
    return None


def _soonest(asker: Asker, slots: Iterable[SlotRow]) -> float:
    """Seconds until something of another process runs out."""
    ends = (
        end
        for slot in slots
        if slot.owner is not None and slot.owner != asker.owner
        for end in (slot.seconds_left, slot.drains_in)
    )
    return min((end for end in ends if end > 0), default=math.inf)
