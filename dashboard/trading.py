"""What every page says of trading: what is stopped, since when and by whom, and how many orders need a person."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth.models import User
from django.db.models import Q

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import account_for, accounts_for, is_administrator
from accounts.exceptions import Denied, NotFound
from accounts.models import TradingAccount
from accounts.principals import Principal
from dashboard import formats
from orders.halts import Scope, states_in_force
from orders.models import BrokerOrder, OrderTask, OrderTaskQuerySet, TradingState
from orders.states import PLACING, REDUCING, RUNNABLE, TERMINAL, Status

EVERYTHING = "all"
"""What a form says for all accounts: of the service where its administrator asks, else of the person who asks."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One thing that is stopped. `scope` names it in a form; `on` says it in words."""

    scope: str
    on: str
    is_halt: bool
    since: str
    by: str
    why: str
    may_resume: bool


@dataclass(frozen=True, slots=True)
class Trading:
    """What one person is told. `accounts` are those on which they may trade."""

    stops: Sequence[Stop] = ()
    accounts: Sequence[TradingAccount] = ()
    is_administrator: bool = False
    needs_you: int = 0

    @property
    def may_stop(self) -> bool:
        return self.is_administrator or bool(self.accounts)

    @property
    def is_halted(self) -> bool:
        return any(stop.is_halt for stop in self.stops)

    @property
    def halted_scopes(self) -> str:
        """For scripts: what is halted as a whole, `all` or public ids of accounts, with spaces between."""
        return " ".join(stop.scope for stop in self.stops if stop.is_halt and ":" not in stop.scope)

    @property
    def nothing_left_to_halt(self) -> bool:
        halted = set(self.halted_scopes.split())
        if EVERYTHING in halted:
            return True
        return not self.is_administrator and {str(account.public_id) for account in self.accounts} <= halted

    @property
    def resumable(self) -> Sequence[Stop]:
        return [stop for stop in self.stops if stop.may_resume]


@dataclass(frozen=True, slots=True)
class Counts:
    """What a halt would meet now: entries that wait here, orders open at the broker, outcomes nobody knows."""

    waiting: int
    open: int
    unknown: int


def trading_of(principal: Principal | None) -> Trading:
    """What `principal` is told; nothing to nobody."""
    if principal is None:
        return Trading()
    readable = accounts_for(principal, Action.READ)
    tradable = list(accounts_for(principal, Action.TRADE).order_by("kite_user_id"))
    may_stop_all = is_administrator(principal)
    rows = list(states_in_force().filter(Q(account=None) | Q(account__in=readable)))
    trades = {account.pk for account in tradable}
    return Trading(
        stops=stops_of(rows, names_of(row.set_by for row in rows), trades, may_stop_all=may_stop_all),
        accounts=tradable,
        is_administrator=may_stop_all,
        needs_you=needing_a_person().filter(account__in=readable).count(),
    )


def needing_a_person() -> OrderTaskQuerySet:
    """Tasks whose outcome nobody knows, and those that a person has to decide."""
    return OrderTask.objects.filter(status__in=[Status.UNKNOWN, Status.DEAD_LETTER])


def stops_of(
    rows: Iterable[TradingState], names: Mapping[str, str], tradable: Iterable[int], *, may_stop_all: bool
) -> list[Stop]:
    """Rows of what is not active, in words.

    Parameters
    ----------
    names : what people call who set them
    tradable : the accounts' primary keys that the reader may resume
    """
    trades = set(tradable)
    return [
        Stop(
            scope=scope_text(Scope(row.account, row.strategy)),
            on=scope_words(row.account, row.strategy),
            is_halt=row.state == TradingState.State.HALTED,
            since=formats.clock_time(clock.at(row.set_at)),
            by=names.get(row.set_by, row.set_by) or "the service",
            why=row.reason,
            may_resume=may_stop_all if row.account is None else row.account_id in trades,
        )
        for row in rows
    ]


def names_of(principals: Iterable[str]) -> dict[str, str]:
    """User names for `user:1`; whatever else sets a state is called as it is."""
    wanted = {name: name.removeprefix("user:") for name in principals if name.startswith("user:")}
    known = {name: int(pk) for name, pk in wanted.items() if pk.isdecimal()}
    users = dict(User.objects.filter(pk__in=known.values()).values_list("pk", "username")) if known else {}
    return {name: users[pk] for name, pk in known.items() if pk in users}


def scope_words(account: TradingAccount | None, strategy: str) -> str:
    if account is None:
        return "on all accounts"
    whole = f"on {account.label}, {account.kite_user_id}"
    return f"of strategy {strategy} {whole}" if strategy else whole


def scope_text(scope: Scope) -> str:
    """How a form names a scope: `all`, an account's public id, or that and a strategy after a colon."""
    if scope.account is None:
        return EVERYTHING
    return f"{scope.account.public_id}:{scope.strategy}" if scope.strategy else str(scope.account.public_id)


def scopes_of(text: str, principal: Principal | None) -> list[Scope]:
    """The scopes that a form names, if the principal may stop and resume them.

    Raises
    ------
    Denied, NotFound
    """
    if text == EVERYTHING:
        if is_administrator(principal):
            return [Scope()]
        accounts = list(accounts_for(principal, Action.TRADE))
        if not accounts:
            raise Denied("You may not trade on any account.")
        return [Scope(account) for account in accounts]
    name, _, strategy = text.partition(":")
    try:
        public_id = UUID(name)
    except ValueError:
        raise NotFound from None
    return [Scope(account_for(principal, Action.TRADE, public_id), strategy[:50])]


def counts_of(scopes: Iterable[Scope]) -> Counts:
    """What a halt of `scopes` would meet."""
    accounts = [scope.account.pk for scope in scopes if scope.account is not None]
    tasks, shown = OrderTask.objects.all(), BrokerOrder.objects.exclude(status__in=sorted(TERMINAL))
    if accounts:
        tasks, shown = tasks.filter(account__in=accounts), shown.filter(account__in=accounts)
    today = clock.today()
    return Counts(
        waiting=tasks.filter(status__in=sorted(RUNNABLE)).exclude(operation__in=sorted(REDUCING)).count(),
        open=shown.filter(task__operation__in=sorted(PLACING), task__trading_date=today).count(),
        unknown=tasks.filter(status=Status.UNKNOWN).count(),
    )
