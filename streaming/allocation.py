"""Which process and which account stream which part: pure functions, and no I/O.

Parts are placed whole, and all parts of one underlying in one process: so each has one writer, its underlying's price
beside it, and one maker of the underlying's bars. Within a process they may lie on several accounts. What is placed
stays where it is while it fits; a pinned part goes to its account and nowhere else; an account that is lost keeps only
what is pinned to it or has no room elsewhere.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

EVEN_ENOUGH: Final = 0.25
"""Processes whose loads differ by less than this share of the mean load are left as they are."""


@dataclass(frozen=True, slots=True)
class PartDemand:
    """What one part asks for: its tokens, which no other part has, and the account somebody pinned it to."""

    part: str
    tokens: frozenset[int]
    pinned_to: str | None = None

    @property
    def group(self) -> str:
        """The underlying, as parts are named by it."""
        return self.part.partition(":")[0]


@dataclass(frozen=True, slots=True)
class Home:
    """The sockets of one account that one process holds: `capacity` instruments.

    One that `is_lost` has had no working socket for long; nothing new goes there while another one has room.
    """

    owner: str
    account: str
    capacity: int
    is_lost: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """Who writes a part, and which account carries it (None: none does). `reason`: why it is not streamed."""

    owner: str
    account: str | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Instruments that all homes can carry, and how one more chain as large as the largest would change it."""

    used: int
    total: int
    largest_chain: int

    @property
    def free(self) -> int:
        return self.total - self.used

    @property
    def free_after_another(self) -> int:
        """Negative if it would not fit."""
        return self.free - self.largest_chain


def forecast(demands: Iterable[PartDemand], homes: Iterable[Home]) -> Forecast:
    """What is wanted against what healthy homes carry."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for demand in demands:
        sizes[demand.group] += len(demand.tokens)
    total = sum(home.capacity for home in homes if not home.is_lost)
    return Forecast(sum(sizes.values()), total, max(sizes.values(), default=0))


def overflow(placement: Mapping[str, Place]) -> dict[str, str]:
    """The parts that are not streamed, with the reason."""
    return {part: place.reason for part, place in placement.items() if place.reason}


@dataclass(slots=True)
class _Rooms:
    """How much each home has left while parts are placed, and what of it belongs to parts that shall stay."""

    homes: Sequence[Home]
    stays: Mapping[str, Home]
    reserved: defaultdict[Home, int]
    left: dict[Home, int] = field(init=False)
    by_owner: defaultdict[str, list[Home]] = field(init=False)

    def __post_init__(self) -> None:
        self.left = {home: home.capacity for home in self.homes}
        self.by_owner = defaultdict(list)
        for home in sorted(self.homes, key=lambda home: (home.owner, home.account)):
            self.by_owner[home.owner].append(home)

    def room(self, owner: str) -> int:
        return sum(self.left[home] for home in self.by_owner[owner] if not home.is_lost)

    def try_group(
        self, group: Sequence[PartDemand], owner: str, previous: Mapping[str, Place]
    ) -> tuple[int, dict[str, Place], dict[Home, int]]:
        """As `owner` would take the group: instruments streamed, the places, and what each home has left."""
        left = {home: self.left[home] for home in self.by_owner[owner]}
        kept = dict(self.reserved)  # also for parts of the group itself, until it is their turn
        carried, places = 0, dict[str, Place]()

        def order(demand: PartDemand) -> tuple[bool, bool, int, str]:
            return demand.pinned_to is None, demand.part not in self.stays, -len(demand.tokens), demand.part

        for demand in sorted(group, key=order):
            size, stays_at = len(demand.tokens), self.stays.get(demand.part)
            if stays_at is not None:
                kept[stays_at] -= size
            if demand.pinned_to is not None:
                fitting = [home for home in left if home.account == demand.pinned_to and left[home] >= size]
            else:
                fitting = [home for home in left if left[home] - (0 if home == stays_at else kept.get(home, 0)) >= size]
            healthy = [home for home in fitting if not home.is_lost]
            before = previous.get(demand.part)
            home = _best(healthy or fitting, left, before.account if before and before.owner == owner else None)
            if home is None:
                places[demand.part] = Place(owner, None, self._why_not(demand, owner, left))
                continue
            left[home] -= size
            if home.is_lost:
                places[demand.part] = Place(owner, home.account, f"account {home.account} is not connected")
            else:
                carried += size
                places[demand.part] = Place(owner, home.account)
        return carried, places, left

    def _why_not(self, demand: PartDemand, owner: str, left: Mapping[Home, int]) -> str:
        size, account = len(demand.tokens), demand.pinned_to
        if not self.homes:
            return "no account is streaming"
        if account is None:
            room = max(left.values(), default=0)
            total = sum(home.capacity for home in left)
            return (
                f"{size} instruments: the process that streams {demand.group} has {total - sum(left.values())} of "
                f"{total} in use, and no account with room for more than {room}"
            )
        if room_there := [left[home] for home in left if home.account == account]:
            return f"{size} instruments: account {account}, to which it is pinned, has room for {room_there[0]}"
        if any(home.account == account for home in self.homes):
            return f"account {account}, to which it is pinned, is streamed by another process than {demand.group}"
        return f"account {account}, to which it is pinned, is not streaming"


def _best(fitting: Sequence[Home], left: Mapping[Home, int], kept: str | None) -> Home | None:
    """The home that the part is on already, else the one with most room."""
    return max(fitting, key=lambda home: (home.account == kept, left[home], home.account), default=None)


def allocate(
    demands: Iterable[PartDemand],
    homes: Iterable[Home],
    owners: Collection[str] = (),
    previous: Mapping[str, Place] | None = None,
) -> dict[str, Place]:
    """Place parts.

    Parameters
    ----------
    demands : the parts wanted, each named once
    homes : what the living processes hold
    owners : the living processes; those with homes are meant anyway
    previous : the placement in force; a part stays where it is while it fits

    Returns
    -------
    dict
        Every part of `demands`, if there is a process at all. Whatever the order of the arguments, the same.
    """
    homes = tuple(homes)
    living = sorted({*owners, *(home.owner for home in homes)})
    if not living:
        return {}
    before = previous or {}
    groups: defaultdict[str, list[PartDemand]] = defaultdict(list)
    for demand in demands:
        groups[demand.group].append(demand)
    keepers = {name: _keeper(group, before, living) for name, group in groups.items()}
    sizes = {name: sum(len(demand.tokens) for demand in group) for name, group in groups.items()}
    stays = _staying(groups, homes, before)
    reserved: defaultdict[Home, int] = defaultdict(int)
    for group in groups.values():
        for demand in group:
            if demand.part in stays:
                reserved[stays[demand.part]] += len(demand.tokens)
    rooms = _Rooms(homes, stays, reserved)

    def pinned_then_kept_then_large(name: str) -> tuple[bool, bool, int, str]:
        is_pinned = any(demand.pinned_to is not None for demand in groups[name])
        return not is_pinned, keepers[name] is None, -sizes[name], name

    placed: dict[str, Place] = {}
    for name in sorted(groups, key=pinned_then_kept_then_large):
        tries = {owner: rooms.try_group(groups[name], owner, before) for owner in living}
        chosen = max(living, key=lambda owner: (tries[owner][0], owner == keepers[name], rooms.room(owner), owner))
        _, places, left = tries[chosen]
        rooms.left |= left
        for demand in groups[name]:
            if demand.part in stays:  # placed now, there or elsewhere
                reserved[stays[demand.part]] -= len(demand.tokens)
        placed |= places
    return placed


def _staying(
    groups: Mapping[str, Sequence[PartDemand]], homes: Iterable[Home], before: Mapping[str, Place]
) -> dict[str, Home]:
    """Where each part is that has no reason to move."""
    healthy = {(home.owner, home.account): home for home in homes if not home.is_lost}
    stays = {}
    for group in groups.values():
        for demand in group:
            place = before.get(demand.part)
            if place is None or place.account is None or demand.pinned_to not in (None, place.account):
                continue
            if (home := healthy.get((place.owner, place.account))) is not None:
                stays[demand.part] = home
    return stays


def _keeper(group: Iterable[PartDemand], before: Mapping[str, Place], living: Collection[str]) -> str | None:
    """The living process that has most of the group already."""
    weights: defaultdict[str, int] = defaultdict(int)
    for demand in group:
        if demand.part in before and before[demand.part].owner in living:
            weights[before[demand.part].owner] += len(demand.tokens)
    return max(weights, key=lambda owner: (weights[owner], owner), default=None)


def even_out(
    demands: Collection[PartDemand], homes: Collection[Home], placement: Mapping[str, Place]
) -> dict[str, Place]:
    """The same placement with one underlying moved to a process that has much less to do, if one should move.

    Asked again and again it comes to rest: each move brings the two loads nearer to each other, and what is streamed
    stays streamed.
    """
    owners = {home.owner for home in homes if not home.is_lost}
    loads = dict.fromkeys(sorted(owners), 0)
    sizes: defaultdict[tuple[str, str], int] = defaultdict(int)
    for demand in demands:
        if (place := placement.get(demand.part)) is not None and place.owner in loads:
            loads[place.owner] += len(demand.tokens)
            sizes[place.owner, demand.group] += len(demand.tokens)
    if len(loads) < 2:
        return dict(placement)
    heavy, light = max(loads, key=loads.__getitem__), min(loads, key=loads.__getitem__)
    apart = loads[heavy] - loads[light]
    if apart <= EVEN_ENOUGH * sum(loads.values()) / len(loads):
        return dict(placement)
    movable = [(size, group) for (owner, group), size in sizes.items() if owner == heavy and 0 < size <= apart / 2]
    for _, group in sorted(movable, reverse=True):
        told = {
            part: replace(place, owner=light) if part.partition(":")[0] == group else place
            for part, place in placement.items()
        }
        moved = allocate(demands, homes, (), told)
        if all(moved[part].owner == place.owner for part, place in told.items() if part in moved) and not (
            overflow(moved).keys() - overflow(placement).keys()
        ):
            return moved
    return dict(placement)
