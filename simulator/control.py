"""A client of the simulator's control API: what a test lets go wrong, and what really arrived.

Plain HTTP and nothing of the simulator's inside, so that the service's own tests may use it too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests


class ControlRefused(Exception):
    """The simulator did not take an order; the message says why."""


@dataclass(frozen=True, slots=True)
class Calls:
    """Calls of one api key and user to one route. The keys of `seconds` and `minutes` are Unix seconds."""

    api_key: str
    user_id: str
    method: str
    route: str
    group: str
    total: int
    answers: Mapping[str, int]  # by status; `none` where there was no answer
    seconds: Mapping[int, int]
    minutes: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Sockets:
    """Sockets of one api key. `refused` handshakes by status; `none` where there was no answer."""

    open: int
    peak: int
    accepted: int
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Counters:
    """What arrived since the start or the last reset. Filters are `api_key`, `user_id`, `method`, `route`, `group`."""

    rows: Sequence[Calls]
    sockets_by_key: Mapping[str, Sockets]

    def calls(self, **filters: str) -> int:
        """How many."""
        return sum(row.total for row in self._chosen(filters))

    def answers(self, **filters: str) -> Counter[str]:
        """How many of each status."""
        return sum((Counter(row.answers) for row in self._chosen(filters)), Counter[str]())

    def worst_second(self, **filters: str) -> int:
        """The most calls that began in one calendar second."""
        return _most(row.seconds for row in self._chosen(filters))

    def worst_minute(self, **filters: str) -> int:
        """The most calls that began in one calendar minute."""
        return _most(row.minutes for row in self._chosen(filters))

    def sockets(self, api_key: str) -> Sockets:
        return self.sockets_by_key.get(api_key, Sockets(0, 0, 0, {}))

    def _chosen(self, filters: Mapping[str, str]) -> Iterator[Calls]:
        for row in self.rows:
            if all(getattr(row, name) == value for name, value in filters.items()):
                yield row


@dataclass(frozen=True, slots=True)
class AcceptedOrder:
    """An order that the broker has taken, whatever its client was told.

    `root` is the id of what one request has brought: slices, legs, a stop; its own id where it is alone. `times` is how
    many such requests of this user had its tag. `arrived_at` is the machine's time (Unix seconds) at which the request
    came in. `sent` is false for what the broker or a rule has added. `parameters` are as they arrived.
    """

    order_id: str
    root: str
    user_id: str
    api_key: str
    tag: str | None
    times: int
    arrived_at: float
    sent: bool
    status: str
    filled_quantity: int
    modifications: int
    parameters: Mapping[str, Any]


class SimulatorControl:
    """One simulator's control API. Methods raise ControlRefused, and `requests`' exceptions where nobody listens."""

    def __init__(self, root: str, token: str, *, timeout_seconds: float = 10.0) -> None:
        self._root = f"{root.rstrip('/')}/_control"
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {token}"
        self._session.trust_env = False  # a .netrc of the machine would replace the header
        self._timeout_seconds = timeout_seconds

    def close(self) -> None:
        self._session.close()

    # --- rules ------------------------------------------------------------------------------------------------------

    def add(self, kind: str, **fields: Any) -> int:
        """A rule for what comes; `docs/simulator.md` has the kinds and their fields. Returns its id."""
        return self.script({"kind": kind, **fields})[0]

    def script(self, *rules: Mapping[str, Any]) -> list[int]:
        """Several rules at once, all or none: what comes takes them in this order."""
        return [rule["id"] for rule in self._ask("POST", "/faults", list(rules))]

    def rules(self) -> list[dict[str, Any]]:
        """Every rule with its `hits` and `remaining`, also those that are used up."""
        rules: list[dict[str, Any]] = self._ask("GET", "/faults")
        return rules

    def hits(self, number: int) -> int:
        """How many calls, handshakes or sockets a rule has taken."""
        return next(int(rule["hits"]) for rule in self.rules() if rule["id"] == number)

    def remove(self, number: int) -> None:
        self._ask("DELETE", f"/faults/{number}")

    def clear(self) -> None:
        """Remove all rules, and end what lasts on open sockets."""
        self._ask("DELETE", "/faults")
        self._ask("DELETE", "/sockets/faults")

    # --- what is open now -------------------------------------------------------------------------------------------

    def sockets(self) -> list[dict[str, Any]]:
        """The open sockets, oldest first."""
        sockets: list[dict[str, Any]] = self._ask("GET", "/sockets")
        return sockets

    def disturb(self, kind: str, **fields: Any) -> list[int]:
        """Do it to the open sockets of `socket`, `api_key`, `user_id` (all without); returns their numbers."""
        numbers: list[int] = self._ask("POST", "/sockets/faults", {"kind": kind, **fields})
        return numbers

    def calm(self) -> None:
        """End what lasts on open sockets."""
        self._ask("DELETE", "/sockets/faults")

    def kill_tokens(self, *, sockets: str = "close", **chosen: str) -> int:
        """End live tokens of `api_key`, `user_id` or `access_token` (all without); returns how many.

        Their sockets are closed, or left open and silent (`mute`), or left as they are (`leave`).
        """
        killed: int = self._ask("POST", "/tokens/kill", {"sockets": sockets, **chosen})
        return killed

    # --- the truth --------------------------------------------------------------------------------------------------

    def orders(self, **chosen: str) -> list[AcceptedOrder]:
        """What the broker has taken, of `user_id` or with `tag` (all without), in the order of taking."""
        return [AcceptedOrder(**order) for order in self._ask("GET", "/orders", params=chosen)]

    def reset_orders(self) -> None:
        """Every account as at the start: no orders, no trades, its first cash and holdings."""
        self._ask("DELETE", "/orders")

    def postbacks(self) -> list[dict[str, str]]:
        """Those sent, the oldest first: `api_key`, `order_id`, `status`, and the HTTP status in `answer`, or `none`."""
        sent: list[dict[str, str]] = self._ask("GET", "/postbacks")
        return sent

    def counters(self) -> Counters:
        answer = self._ask("GET", "/counters")
        rows = [
            Calls(**(row | {name: _by_moment(row[name]) for name in ("seconds", "minutes")})) for row in answer["calls"]
        ]
        return Counters(rows, {api_key: Sockets(**sockets) for api_key, sockets in answer["sockets"].items()})

    def reset_counters(self) -> None:
        self._ask("DELETE", "/counters")

    def _ask(self, method: str, path: str, body: Any = None, *, params: Mapping[str, str] | None = None) -> Any:
        response = self._session.request(
            method, self._root + path, json=body, params=params, timeout=self._timeout_seconds
        )
        answer = response.json()
        if not response.ok:
            raise ControlRefused(answer["message"])
        return answer["data"]


def _by_moment(counts: Mapping[str, int]) -> dict[int, int]:
    return {int(moment): count for moment, count in counts.items()}


def _most(counts: Iterator[Mapping[int, int]]) -> int:
    together: Counter[int] = Counter()
    for one in counts:
        together.update(one)
    return max(together.values(), default=0)
