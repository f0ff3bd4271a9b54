"""What a task can be, and how it gets from one state to the next. The database enforces the same table."""

from django.db.models import TextChoices


class Operation(TextChoices):
    """What is asked of the broker."""

    PLACE = "place"
    AUTOSLICE = "autoslice"
    EXIT = "exit"  # an order that only makes a position smaller
    MODIFY = "modify"
    CANCEL = "cancel"


PLACING = frozenset({Operation.PLACE, Operation.AUTOSLICE, Operation.EXIT})
"""Operations that make a new order at the broker: sent twice, there are two."""
REDUCING = frozenset({Operation.EXIT, Operation.CANCEL})
"""Operations that take risk away: they go first, through a halt, and have a reserve of the budget."""


class Status(TextChoices):
    """Whether the command has reached a known end. What became of the order itself is `BrokerOrder.status`."""

    PENDING = "pending"  # accepted, nothing done yet
    RUNNING = "running"  # a worker has it
    RETRYING = "retrying"  # proven not sent, or refused for the moment
    UNKNOWN = "unknown"  # it may have been sent: only the broker's book can tell
    COMPLETED = "completed"  # the broker has it
    FAILED = "failed"  # refused, by us or by the broker: nothing happened
    DEAD_LETTER = "dead_letter"  # a person has to decide


RUNNABLE = frozenset({Status.PENDING, Status.RETRYING})
OPEN = frozenset({Status.PENDING, Status.RUNNING, Status.RETRYING, Status.UNKNOWN})

TRANSITIONS: frozenset[tuple[Status, Status]] = frozenset(
    {
        (Status.PENDING, Status.RUNNING),
        (Status.PENDING, Status.FAILED),
        (Status.RETRYING, Status.RUNNING),
        (Status.RETRYING, Status.FAILED),
        (Status.RETRYING, Status.DEAD_LETTER),
        (Status.RUNNING, Status.RETRYING),
        (Status.RUNNING, Status.COMPLETED),
        (Status.RUNNING, Status.FAILED),
        (Status.RUNNING, Status.UNKNOWN),
        (Status.UNKNOWN, Status.COMPLETED),
        (Status.UNKNOWN, Status.FAILED),
        (Status.UNKNOWN, Status.RETRYING),
        (Status.UNKNOWN, Status.DEAD_LETTER),
        # Late arrivals: the broker shows an order that was taken for absent.
        (Status.FAILED, Status.COMPLETED),
        (Status.DEAD_LETTER, Status.COMPLETED),
        # By a person, after the book was read again.
        (Status.DEAD_LETTER, Status.RETRYING),
        (Status.DEAD_LETTER, Status.FAILED),
    }
)
"""Every change of state there is. Nothing leaves `completed`."""

TERMINAL = frozenset({"COMPLETE", "CANCELLED", "REJECTED"})
"""The broker's own statuses of an order that ends there; every other one may still change."""
