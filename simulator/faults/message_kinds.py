"""What can happen to an order update on its way, as a text frame or as a postback."""

from enum import StrEnum

from simulator.delivery import Delay, Deliver, Drop, Duplicate, Forge, Swap, Way
from simulator.faults.call_kinds import LONGEST_SECONDS
from simulator.faults.fields import Fields


class MessageKind(StrEnum):
    PASS = "pass"
    DROP = "drop"
    DUPLICATE = "duplicate"
    LATE = "late"
    SWAP = "swap"
    FORGE = "forge"


def read_way(kind: MessageKind, fields: Fields) -> Way:
    """What the members describe. Raises Refused."""
    match kind:
        case MessageKind.PASS:
            return Deliver()
        case MessageKind.DROP:
            return Drop()
        case MessageKind.DUPLICATE:
            return Duplicate(fields.whole("copies", 2, least=2, most=100) or 2)
        case MessageKind.LATE:
            return Delay(fields.number("seconds", 1.0, least=0, most=LONGEST_SECONDS))
        case MessageKind.SWAP:
            return Swap()
        case MessageKind.FORGE:
            return Forge(fields.text("claims", "COMPLETE", longest=100) or "", fields.flag("valid_checksum"))
