"""What clients asked and were told: their own account of a soak, kept apart from the service's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from typing import Any


class Kind(StrEnum):
    PLACE = "place"
    MODIFY = "modify"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the service. Without `status` there was none: the order may have been taken on, or not."""

    status: int | None
    task: str = ""
    code: str = ""

    @property
    def is_taken(self) -> bool:
        return self.status in (HTTPStatus.OK, HTTPStatus.ACCEPTED)

    @property
    def is_final(self) -> bool:
        """Whether asking again would bring nothing else."""
        return self.status is not None and self.status < HTTPStatus.INTERNAL_SERVER_ERROR and self.status != 429


@dataclass(slots=True)
class Asked:
    """One wish of a client, under one key, and every answer to it. `about`: the task that it changes or cancels."""

    kind: Kind
    user_id: str
    key: str
    body: Mapping[str, Any]
    about: str = ""
    answers: list[Answer] = field(default_factory=list)

    @property
    def tasks(self) -> set[str]:
        """Tasks that stand for it. A cancel that came before its order went out is answered with that order's."""
        return {answer.task for answer in self.answers if answer.is_taken} - {self.about}


History = Sequence[Asked]
