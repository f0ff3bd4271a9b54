"""What happens to whom: rules in the order of their creation, each call, order or message taking at most one."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from simulator.delivery import Way
from simulator.faults.call_kinds import HANDSHAKE_KINDS, LONGEST_SECONDS, CallFault, CallKind, read_call_fault
from simulator.faults.fields import Fields, choose
from simulator.faults.message_kinds import MessageKind, read_way
from simulator.faults.order_kinds import OrderKind, read_mishap
from simulator.faults.socket_kinds import SocketFault, SocketKind, read_socket_fault
from simulator.refusals import Refused
from simulator.trading.mishaps import Mishap

MOST_RULES = 1_000
_MOST_TIMES = 1_000_000_000
_METHODS = frozenset({"GET", "POST", "PUT", "DELETE"})


class Target(StrEnum):
    """What a rule waits for."""

    CALL = "call"  # a REST call
    HANDSHAKE = "handshake"  # of the WebSocket
    SOCKET = "socket"  # one that has just opened
    ORDER = "order"  # that the broker is about to take
    UPDATE = "update"  # an order's news, as a text frame to its user
    POSTBACK = "postback"  # the same, to the app


class Group(StrEnum):
    """Routes by their subject."""

    SESSION = "session"
    USER = "user"
    DATA = "data"
    ORDERS = "orders"
    PORTFOLIO = "portfolio"
    GTT = "gtt"
    MARGINS = "margins"
    FUNDS = "mf"
    ALERTS = "alerts"
    LOGIN = "login"
    OTHER = "other"


_GROUP_OF_FIRST_PART = {
    "session": Group.SESSION,
    "user": Group.USER,
    "quote": Group.DATA,
    "instruments": Group.DATA,
    "orders": Group.ORDERS,
    "trades": Group.ORDERS,
    "portfolio": Group.PORTFOLIO,
    "gtt": Group.GTT,
    "margins": Group.MARGINS,
    "charges": Group.MARGINS,
    "mf": Group.FUNDS,
    "alerts": Group.ALERTS,
    "connect": Group.LOGIN,
    "api": Group.LOGIN,
}


def group_of(path: str) -> Group:
    return _GROUP_OF_FIRST_PART.get(path.split("/")[1] if "/" in path else "", Group.OTHER)


@dataclass(frozen=True, slots=True)
class Occasion:
    """One call, handshake, socket, order or message. `route` is the path's template, None where nothing answers.

    Of an order, or of the order that a message is about: `tradingsymbol` and `tag`; of a message its `status`.
    """

    on: Target
    api_key: str = ""
    user_id: str = ""
    method: str = "GET"
    path: str = "/"
    route: str | None = None
    tradingsymbol: str = ""
    tag: str = ""
    status: str = ""


@dataclass(frozen=True, slots=True)
class Condition:
    """Whom a rule is about; None is everybody."""

    api_key: str | None = None
    user_id: str | None = None
    method: str | None = None
    path: str | None = None  # a template like `/user/margins/{segment}`, or one path
    group: Group | None = None
    tradingsymbol: str | None = None
    tag: str | None = None
    status: str | None = None

    def holds_for(self, occasion: Occasion) -> bool:
        return (
            self.api_key in (None, occasion.api_key)
            and self.user_id in (None, occasion.user_id)
            and self.method in (None, occasion.method)
            and self.path in (None, occasion.route, occasion.path)
            and self.group in (None, group_of(occasion.path))
            and self.tradingsymbol in (None, occasion.tradingsymbol)
            and self.tag in (None, occasion.tag)
            and self.status in (None, occasion.status)
        )


@dataclass(slots=True, kw_only=True)
class Rule:
    """`times` and `remaining` None: until it is removed. `asked` is the rule as it was written, for people to read."""

    on: Target
    condition: Condition
    times: int | None
    probability: float
    seed: int
    asked: dict[str, Any]
    number: int = 0
    hits: int = 0
    _dice: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._dice = random.Random(self.seed)  # noqa: S311 - repeatable on purpose

    @property
    def remaining(self) -> int | None:
        return None if self.times is None else self.times - self.hits

    def takes(self, occasion: Occasion) -> bool:
        """Whether this one is it; the dice are thrown for each occasion that would do."""
        if self.on is not occasion.on or not self.condition.holds_for(occasion):
            return False
        if self.probability < 1 and self._dice.random() >= self.probability:
            return False
        self.hits += 1
        return True

    def as_json(self) -> dict[str, Any]:
        state = {"id": self.number, "hits": self.hits, "remaining": self.remaining}
        return self.asked | {"on": self.on, "probability": self.probability, "seed": self.seed} | state


@dataclass(slots=True, kw_only=True)
class CallRule(Rule):
    """About REST calls or handshakes."""

    fault: CallFault


@dataclass(slots=True, kw_only=True)
class SocketRule(Rule):
    """About sockets that open, and what befalls them so many seconds later."""

    fault: SocketFault
    after_seconds: float


@dataclass(slots=True, kw_only=True)
class OrderRule(Rule):
    """About orders that the broker is about to take."""

    mishap: Mishap


@dataclass(slots=True, kw_only=True)
class MessageRule(Rule):
    """About an order's news on their way."""

    way: Way


class RuleBook:
    """All rules. Those that are used up stay listed, for their hits, until they are removed."""

    def __init__(self) -> None:
        self.rules: dict[int, Rule] = {}
        self._active: dict[int, Rule] = {}
        self._last_number = 0

    def add(self, rules: Iterable[Rule]) -> list[Rule]:
        """Append them, all or none. Raises Refused."""
        added = list(rules)
        if len(self.rules) + len(added) > MOST_RULES:
            raise Refused.input(f"There are {len(self.rules)} rules, and {MOST_RULES} at most; remove some.")
        for rule in added:
            self._last_number += 1
            rule.number = self._last_number
            self.rules[rule.number] = self._active[rule.number] = rule
        return added

    def remove(self, number: int) -> bool:
        """Whether there was such a rule."""
        self._active.pop(number, None)
        return self.rules.pop(number, None) is not None

    def clear(self) -> int:
        """How many there were."""
        count = len(self.rules)
        self.rules.clear()
        self._active.clear()
        return count

    def take(self, occasion: Occasion) -> Rule | None:
        """The first rule that takes the occasion."""
        rule = next((rule for rule in self._active.values() if rule.takes(occasion)), None)
        if rule is not None and rule.remaining == 0:
            del self._active[rule.number]
        return rule


def read_rule(data: object, *, default_seed: int) -> Rule:
    """The rule that a JSON object describes. Raises Refused."""
    fields = Fields(data)
    on = fields.choice("on", Target, Target.CALL)
    kind = fields.text("kind", "")
    common: dict[str, Any] = {
        "on": on,
        "condition": _condition(fields, on),
        "times": fields.whole("times", None, least=1, most=_MOST_TIMES),
        "probability": fields.number("probability", 1.0, least=0, most=1),
        "seed": fields.whole("seed", default_seed, least=0, most=1 << 62),
        "asked": fields.given,
    }
    rule: Rule
    if on is Target.ORDER:
        rule = OrderRule(mishap=read_mishap(choose(OrderKind, kind, "kind"), fields), **common)
    elif on in {Target.UPDATE, Target.POSTBACK}:
        rule = MessageRule(way=read_way(choose(MessageKind, kind, "kind"), fields), **common)
    elif on is Target.SOCKET:
        after_seconds = fields.number("after_seconds", 0.0, least=0, most=LONGEST_SECONDS)
        socket_fault = read_socket_fault(choose(SocketKind, kind, "kind"), fields, seed=common["seed"])
        rule = SocketRule(fault=socket_fault, after_seconds=after_seconds, **common)
    elif on is Target.HANDSHAKE:
        handshake_fault = read_call_fault(choose(CallKind, kind, "kind", HANDSHAKE_KINDS), fields, may_work=False)
        rule = CallRule(fault=handshake_fault, **common)
    else:
        rule = CallRule(fault=read_call_fault(choose(CallKind, kind, "kind"), fields), **common)
    fields.done()
    return rule


def _condition(fields: Fields, on: Target) -> Condition:
    api_key, user_id = fields.text("api_key"), fields.text("user_id")
    if on in {Target.HANDSHAKE, Target.SOCKET}:
        return Condition(api_key, user_id)
    if on is Target.ORDER:
        # What an order is altered to has the same names: rules about some orders only go by tag.
        return Condition(api_key, user_id, tag=fields.text("tag"))
    if on in {Target.UPDATE, Target.POSTBACK}:
        tag, tradingsymbol, status = (fields.text(name) for name in ("tag", "tradingsymbol", "status"))
        return Condition(api_key, user_id, tag=tag, tradingsymbol=tradingsymbol, status=status)
    method, group = fields.text("method"), fields.text("group")
    if method is not None and method not in _METHODS:
        raise Refused.input(f"`method` must be one of {', '.join(sorted(_METHODS))}.")
    chosen = None if group is None else choose(Group, group, "group")
    return Condition(api_key, user_id, method, fields.text("path"), chosen)
