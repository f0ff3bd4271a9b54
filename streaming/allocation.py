"""Which account carries which part: a pure function, first form.

Parts are placed whole, so that each has one writer and its underlying's price beside it. Whoever held a part keeps it
while it fits; a pinned part goes to its account and nowhere else; the rest goes, the largest first, to the account
with most room.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PartDemand:
    """What one part asks for: its tokens, and the account somebody pinned it to."""

    part: str
    tokens: frozenset[int]
    pinned_to: str | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """Parts by account, and the parts that fit nowhere (`{part: reason}`)."""

    parts: Mapping[str, frozenset[str]]
    overflow: Mapping[str, str] = field(default_factory=dict)

    def account_of(self, part: str) -> str | None:
        """Who carries the part; None if nobody does."""
        return next((account for account, held in self.parts.items() if part in held), None)


def allocate(
    demands: Iterable[PartDemand], capacity: Mapping[str, int], previous: Assignment | None = None
) -> Assignment:
    """Place parts on accounts.

    Parameters
    ----------
    demands : the parts wanted, each named once
    capacity : instruments each healthy account can carry, by account name
    previous : the assignment in force; a part stays with its account while it fits

    Returns
    -------
    Assignment
        Every account of `capacity` is a key, even with nothing to carry.
    """
    room = dict(capacity)
    placed: dict[str, set[str]] = {account: set() for account in capacity}
    overflow: dict[str, str] = {}
    waiting = sorted(demands, key=lambda demand: (-len(demand.tokens), demand.part))
    keepers = {demand.part: previous.account_of(demand.part) for demand in waiting} if previous else {}

    def place(demand: PartDemand, account: str) -> bool:
        if room.get(account, -1) < len(demand.tokens):
            return False
        room[account] -= len(demand.tokens)
        placed[account].add(demand.part)
        return True

    def pinned_first_then_kept(demand: PartDemand) -> int:
        return 0 if demand.pinned_to else 1 if keepers.get(demand.part) else 2

    for demand in sorted(waiting, key=pinned_first_then_kept):
        if demand.pinned_to is not None:
            if demand.pinned_to not in room:
                overflow[demand.part] = f"account {demand.pinned_to} is not streaming"
            elif not place(demand, demand.pinned_to):
                overflow[demand.part] = f"no room left on account {demand.pinned_to}"
            continue
        held_by = keepers.get(demand.part)
        if held_by is not None and place(demand, held_by):
            continue
        roomiest = max(room, key=lambda account: (room[account], account), default=None)
        if roomiest is None:
            overflow[demand.part] = "no account is streaming"
        elif not place(demand, roomiest):
            overflow[demand.part] = f"{len(demand.tokens)} instruments, and no account has room for them"
    return Assignment(
        parts={account: frozenset(held) for account, held in placed.items()},
        overflow=overflow,
    )
