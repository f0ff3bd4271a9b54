"""How stream processes share the slots: each takes and gives up by the same rows, and so comes to its fair share."""

import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlotRow:
    """A slot as its row says, at one moment. `account` is the Kite user id that its socket is opened with, if any.

    `seconds_left` and `drains_in` are from now, negative when over.
    """

    pk: int
    app_id: int
    app: str
    number: int
    account: str
    owner: uuid.UUID | None
    epoch: int
    seconds_left: float
    drains_in: float
    is_lost: bool = False

    @property
    def is_held(self) -> bool:
        return self.owner is not None and self.seconds_left > 0

    @property
    def is_draining(self) -> bool:
        """Whether its process has ended, or stands still, and the broker may still count its socket."""
        return self.owner is not None and self.seconds_left < 0 <= self.drains_in

    @property
    def is_free(self) -> bool:
        """Whether anybody may take it: given back, or run out and drained."""
        return self.owner is None or (self.seconds_left < 0 and self.drains_in < 0)


def shares(owners: Iterable[uuid.UUID], slots: Collection[SlotRow]) -> dict[uuid.UUID, int]:
    """How many slots each living process should hold; the ones left over go to those that hold most."""
    held = Counter(slot.owner for slot in slots if slot.is_held)
    order = sorted(set(owners), key=lambda owner: (-held[owner], owner))
    if not order:
        return {}
    each, over = divmod(len(slots), len(order))
    return {owner: each + (place < over) for place, owner in enumerate(order)}


def to_take(
    me: uuid.UUID, owners: Iterable[uuid.UUID], slots: Sequence[SlotRow], *, closing: Collection[int] = ()
) -> list[SlotRow]:
    """The free slots that `me` should take now, those first of whose app it holds fewest.

    Its own that ran out are free to itself as soon as their sockets are closed: `closing` names those that are not.
    """
    mine = [slot for slot in slots if slot.is_held and slot.owner == me and slot.pk not in closing]
    free = [
        slot for slot in slots if (slot.is_free or (slot.owner == me and not slot.is_held)) and slot.pk not in closing
    ]
    of_app = Counter(slot.app_id for slot in mine)
    taken: list[SlotRow] = []
    for _ in range(shares(owners, slots).get(me, 0) - len(mine)):
        if not free:
            break
        chosen = min(free, key=lambda slot: (of_app[slot.app_id], slot.number, slot.app_id))
        free.remove(chosen)
        of_app[chosen.app_id] += 1
        taken.append(chosen)
    return taken


def to_give_up(me: uuid.UUID, owners: Iterable[uuid.UUID], slots: Sequence[SlotRow]) -> list[SlotRow]:
    """The slots of which `me` should give one up now, the likeliest first; none if it holds no more than its share.

    Those first of whose app it holds most, and the last ones of an account, which carry least.
    """
    mine = [slot for slot in slots if slot.is_held and slot.owner == me]
    if len(mine) <= shares(owners, slots).get(me, 0):
        return []
    of_app = Counter(slot.app_id for slot in mine)
    return sorted(mine, key=lambda slot: (-of_app[slot.app_id], -slot.number, slot.app_id))
