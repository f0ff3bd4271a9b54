"""The one place that writes order tasks. Each change of state is one statement: a conditional UPDATE and its event.

All times are the database's: no worker's clock decides anything. What a worker writes is fenced by the token of its
claim: if another worker has claimed the task since, nothing is written and `LeaseLost` is raised.
"""

import json
import secrets
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, NoReturn
from uuid import UUID, uuid4

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connection, transaction
from django.db.models import NOT_PROVIDED

from accounts import audit
from accounts.models import TradingAccount
from accounts.prepared import prepared_cursor
from orders import news_bell, risk
from orders.exceptions import KeyReused, LeaseLost, NotToBeSent, Postponed
from orders.models import OrderTask, TradingState
from orders.states import REDUCING, Operation, Status

_TAG_ALPHABET = string.ascii_uppercase + string.digits
TAG_PREFIX = "T"
_FINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.DEAD_LETTER})


@dataclass(frozen=True, slots=True)
class Sql:
    """A value that the database works out when it writes it."""

    text: str
    values: tuple[Any, ...] = ()


NOW = Sql("statement_timestamp()")


def in_seconds(seconds: float) -> Sql:
    return Sql("statement_timestamp() + %s", (timedelta(seconds=seconds),))


@dataclass(frozen=True, slots=True)
class NewTask:
    """A command that has passed every check, in the form in which it is kept."""

    account: TradingAccount
    principal: str
    operation: Operation
    params: Mapping[str, Any]
    idempotency_key: str
    fingerprint: str
    valid_until: datetime
    trading_date: date
    serial_key: str = ""
    decision: Mapping[str, Any] = field(default_factory=dict)
    public_id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True)
class Claim:
    """A task that this worker has, for as long as its lease lasts."""

    task: OrderTask
    token: int
    owner: str
    fence_at: float  # monotonic: after it nothing may be sent any more
    login: int | None  # the version of the account's login at that moment; None if there is none

    @property
    def is_fenced_off(self) -> bool:
        """Whether so much of the lease is over that a sender might overlap with the next one."""
        return time.monotonic() >= self.fence_at


# --- taking on -------------------------------------------------------------------------------------------------------


def accept(new: NewTask) -> tuple[OrderTask, bool]:
    """Take a command on, once for its account and key, with its row in the audit: without that it is not taken on.

    Returns whether it is new, and the task of the first time if not.

    Raises
    ------
    KeyReused
        The key came with another command before. Nothing was changed.
    """
    with _by_itself():
        return _accept(new)


def accept_all(news: Iterable[NewTask]) -> list[tuple[OrderTask, bool]]:
    """`accept` for several, all of them or none. Raises KeyReused."""
    with transaction.atomic(savepoint=False):
        return [_accept(new) for new in news]


def taken_before(account: TradingAccount, key: str, fingerprint: str) -> OrderTask | None:
    """The task that was taken on with this key; None if the key is free.

    Raises
    ------
    KeyReused
        It was another command.
    """
    before = OrderTask.objects.filter(account=account, idempotency_key=key).first()
    if before is not None and before.fingerprint != fingerprint:
        raise KeyReused
    return before


_COLUMNS = OrderTask._meta.concrete_fields
_ALL = ", ".join(str(one.column) for one in _COLUMNS)
_NAMES = [one.attname for one in _COLUMNS]
_CONVERT = [getattr(one, "from_db_value", None) for one in _COLUMNS]
_CLAIMED = ", ".join(f"claimed.{one.column}" for one in _COLUMNS)
# What the database gives by itself is left to it.
_WRITTEN = [one for one in _COLUMNS if not one.primary_key and one.db_default is NOT_PROVIDED]
# The rows of everything and of the account are there before any order is: a halt without one could be overtaken.
_INSERT = f"""
with states as (
  insert into orders_tradingstate (account_id, strategy, state, reason, set_by, epoch)
  values (null, '', 'active', '', '', 0), (%s, '', 'active', '', '', 0)
  on conflict do nothing),
task as (
  insert into orders_ordertask ({", ".join(str(one.column) for one in _WRITTEN)})
  values ({", ".join("%s" for _ in _WRITTEN)})
  on conflict (account_id, idempotency_key) do nothing
  returning {_ALL}),
event as (
  insert into orders_orderevent (task_id, number, from_status, to_status, actor, lease_token, reason, evidence)
  select id, version, '', status, principal, lease_token, 'accepted', '{{{{}}}}' from task),
audited as ({{audit}})
select {_ALL} from task
"""  # noqa: S608 - the names are ours


def _accept(new: NewTask) -> tuple[OrderTask, bool]:
    task = _insert(new)
    if task is None:
        before = taken_before(new.account, new.idempotency_key, new.fingerprint)
        assert before is not None  # noqa: S101 - what the insertion ran into is committed, and no task is ever deleted
        return before, False
    news_bell.ring_after_commit(new.account.pk)
    return task, True


def _insert(new: NewTask) -> OrderTask | None:
    """The task as its row has it; None if the account has one with this key."""
    task = OrderTask(
        public_id=new.public_id,
        account=new.account,
        principal=new.principal,
        operation=new.operation,
        params=dict(new.params),
        decision=dict(new.decision),
        idempotency_key=new.idempotency_key,
        fingerprint=new.fingerprint,
        tag=_new_tag(),
        serial_key=new.serial_key,
        valid_until=new.valid_until,
        trading_date=new.trading_date,
        version=1,
    )
    values = [one.get_db_prep_save(one.pre_save(task, True), connection) for one in _WRITTEN]
    audited, of_audit = audit.recording(
        "task",
        audit.Kind.ORDER_ACCEPTED,
        account=new.account.kite_user_id,
        task=str(task.public_id),
        operation=str(new.operation),
        params=dict(new.params),
        fingerprint=new.fingerprint,
        principal=new.principal,
    )
    with prepared_cursor() as cursor:
        cursor.execute(_INSERT.format(audit=audited), [new.account.pk, *values, *of_audit])
        row = cursor.fetchone()
    if row is None:
        return None
    stored = _task_of(row)
    stored.account = new.account
    return stored


# --- a worker's turn -------------------------------------------------------------------------------------------------

_CLAIM = f"""
with candidate as (
  select id, status from orders_ordertask as task
   where account_id = %(account)s and status in ('pending', 'retrying')
     and run_after <= statement_timestamp() and valid_until > statement_timestamp()
     and (operation in ('cancel', 'exit') or (%(everything)s and not exists (
           select 1 from orders_tradingstate as state
            where state.state = 'reducing'
              and (state.account_id is null or (state.account_id = task.account_id
                   and state.strategy in ('', coalesce(task.params ->> 'strategy', '')))))))
     and (serial_key = '' or not exists (
           select 1 from orders_ordertask as earlier
            where earlier.serial_key = task.serial_key and earlier.account_id = task.account_id and earlier.id < task.id
              and earlier.status in ('pending', 'running', 'retrying', 'unknown')))
   order by (operation in ('cancel', 'exit')) desc, run_after, id
   for update of task skip locked limit 1),
claimed as (
  update orders_ordertask as task
     set status = 'running', lease_owner = %(owner)s, lease_token = task.lease_token + 1, version = task.version + 1,
         lease_until = statement_timestamp() + %(lease)s, attempts = task.attempts + 1, send_started_at = null
    from candidate where task.id = candidate.id
  returning task.*),
event as (
  insert into orders_orderevent (task_id, number, from_status, to_status, actor, lease_token, reason, evidence)
  select id, claimed.version, candidate.status, claimed.status, lease_owner, lease_token, 'claimed', '{{}}'
    from claimed join candidate using (id))
select {_CLAIMED}, (select token_version from accounts_brokersession
                    where account_id = %(account)s and status = 'active') as login
  from claimed
"""  # noqa: S608 - the names are ours


def claim(account: TradingAccount, owner: str, *, only_reducing: bool = False) -> Claim | None:
    """Take the next task of the account that is due; cancels and exits first. None if there is none.

    While only exits go out, entries are left where they are.

    Parameters
    ----------
    owner : a name for the worker, for people to read
    only_reducing : nothing but cancels and exits, while the budget leaves only its reserve
    """
    lease = timedelta(seconds=settings.ORDER_LEASE_SECONDS)
    # Before the claim: whatever the database takes counts against this worker, and not against the next one.
    fence_at = time.monotonic() + settings.ORDER_FENCE_SHARE * lease.total_seconds()
    values: dict[str, Any] = {"account": account.pk, "everything": not only_reducing, "owner": owner, "lease": lease}
    with prepared_cursor() as cursor:
        cursor.execute(_CLAIM, values)
        row = cursor.fetchone()
    if row is None:
        return None
    *columns, login = row
    task = _task_of(columns)
    # No bell for it: what becomes of it is told in a moment.
    task.account = account
    return Claim(task, task.lease_token, owner, fence_at, login)


def _task_of(row: Sequence[Any]) -> OrderTask:
    """A row of all columns as a task. The ORM makes one of a raw query, too, and takes longer than the database."""
    values = [
        convert(value, None, connection) if convert else value for convert, value in zip(_CONVERT, row, strict=True)
    ]
    return OrderTask.from_db(DEFAULT_DB_ALIAS, _NAMES, values)


# The halt's rows are locked against being set: after whoever halts has committed, no mark can be made. The clock is
# asked after that lock was waited for.
_MARK = """
with states as (
  select state.state from orders_tradingstate as state
   where not %s and (state.account_id is null or (state.account_id = %s and state.strategy in ('', %s)))
     for share of state),
account as (
  select state = 'enabled' and is_trading as may_trade from accounts_tradingaccount where id = %s),
marked as (
  update orders_ordertask set send_started_at = clock_timestamp()
   where id = %s and status = 'running' and lease_token = %s
     and (%s or ((select bool_and(state = 'active') from states) and (select may_trade from account)))
     and lease_until > clock_timestamp() and valid_until > clock_timestamp()
  returning send_started_at),
audited as ({audit})
select (select send_started_at from marked), (select array_agg(state) from states), (select may_trade from account)
"""


def mark(claim: Claim) -> None:
    """Write down, for good, that the task may be sent from this moment on; in the audit too, or it is not sent.

    Raises
    ------
    NotToBeSent
        Trading is halted, the account was disabled, a limit is passed by now, or the task's time is over.
    Postponed
        Only exits go out: it waits for the resumption.
    LeaseLost
    """
    task = claim.task
    broken = risk.recheck(task)
    if broken is not None:
        raise NotToBeSent(broken.code, broken.message)
    is_reducing = Operation(task.operation) in REDUCING
    audited, of_audit = audit.recording(
        "marked",
        audit.Kind.ORDER_SENT,
        account=task.account.kite_user_id,
        task=str(task.public_id),
        tag=task.tag,
        attempt=task.attempts,
        lease_token=claim.token,
        worker=claim.owner,
    )
    of_states = [is_reducing, task.account_id, task.params.get("strategy", ""), task.account_id]
    with _by_itself(), prepared_cursor() as cursor:
        cursor.execute(_MARK.format(audit=audited), [*of_states, task.pk, claim.token, is_reducing, *of_audit])
        marked_at, states, may_trade = cursor.fetchone()
    if marked_at is None:
        if not is_reducing:
            _raise_if_stopped(set(states or ()), bool(may_trade))
        _raise_why_not_marked(claim)
    # For the event that ends this attempt: a next one writes its own mark over this one.
    task.send_started_at = marked_at


def _raise_if_stopped(states: set[str], may_trade: bool) -> None:
    """`states`: all that bear on the task; without any nothing may be sent."""
    if TradingState.State.REDUCING in states and TradingState.State.HALTED not in states:
        raise Postponed("only exits go out for now")
    if states != {TradingState.State.ACTIVE}:
        raise NotToBeSent("trading_halted", "trading was halted before it was sent")
    if not may_trade:
        raise NotToBeSent("account_disabled", "the account may not send orders")


def _raise_why_not_marked(claim: Claim) -> NoReturn:
    with connection.cursor() as cursor:
        cursor.execute(
            "select valid_until <= statement_timestamp() from orders_ordertask"
            " where id = %s and status = 'running' and lease_token = %s",
            [claim.task.pk, claim.token],
        )
        row = cursor.fetchone()
    if row and row[0]:
        raise NotToBeSent("expired", "its time was over before it was sent")
    raise LeaseLost(f"task {claim.task.public_id} belongs to another worker by now")


def complete(claim: Claim, broker_order_id: str, *, reason: str = "accepted_by_broker", **evidence: Any) -> None:
    """The broker has it."""
    _move(claim, Status.COMPLETED, reason, evidence, broker_order_id=broker_order_id, error_code="", error_message="")


def fail(claim: Claim, code: str, message: str, *, http_status: int | None = None, **evidence: Any) -> None:
    """Refused, by us or by the broker: nothing happened."""
    _move(claim, Status.FAILED, code, evidence, error_code=code, error_message=message[:500], http_status=http_status)


def retry(
    claim: Claim, code: str, message: str, *, after_seconds: float, costs_an_attempt: bool, **evidence: Any
) -> None:
    """Nothing was sent, or the broker refused for the moment: try again later.

    What was tried too often is ended by `orders.sweep`.
    """
    fields: dict[str, Any] = {"run_after": in_seconds(after_seconds), "send_started_at": None}
    if not costs_an_attempt:
        fields["attempts"] = Sql("attempts - 1")
    _move(claim, Status.RETRYING, code, evidence, error_code=code, error_message=message[:500], **fields)


def leave_unknown(claim: Claim, code: str, message: str, *, http_status: int | None = None, **evidence: Any) -> None:
    """It may have been sent: from now on only the broker's book decides."""
    _move(
        claim,
        Status.UNKNOWN,
        code,
        evidence,
        error_code=code,
        error_message=message[:500],
        http_status=http_status,
        unknown_since=NOW,
        recon_after=in_seconds(settings.ORDER_RECONCILE_FIRST_SECONDS),
        absent_reads=0,
    )


# --- what happens to a task that no worker has -----------------------------------------------------------------------


_CHANGE = """
with changed as (
  update orders_ordertask set {fields}, status = %s, version = version + 1
   where id = %s and status = %s and version = %s and lease_token = %s
  returning id, version, status, lease_token)
insert into orders_orderevent (task_id, number, from_status, to_status, actor, lease_token, reason, evidence)
select id, version, %s, status, %s, lease_token, %s, %s::jsonb from changed
"""


def settle(task: OrderTask, to: Status, *, actor: str, reason: str, evidence: Mapping[str, Any], **fields: Any) -> bool:
    """Move a task from the state, and under the lease, in which it was read. Whether it was still in it.

    Parameters
    ----------
    fields : of the task, with the values to write along: plain ones, or `Sql`
    """
    if to in _FINAL:
        fields["finished_at"] = NOW
    if task.status == Status.RUNNING and task.send_started_at is not None:
        evidence = {"marked_at": task.send_started_at.isoformat()} | dict(evidence)
    values = {name: value if isinstance(value, Sql) else Sql("%s", (value,)) for name, value in fields.items()}
    statement = _CHANGE.format(fields=", ".join(f"{name} = {value.text}" for name, value in values.items()))
    given = [one for value in values.values() for one in value.values]
    was: list[Any] = [task.pk, task.status, task.version, task.lease_token]
    with _by_itself(), prepared_cursor() as cursor:
        cursor.execute(statement, [*given, to, *was, task.status, actor, reason, json.dumps(dict(evidence))])
        is_moved = bool(cursor.rowcount)
    if is_moved:
        news_bell.ring_after_commit(task.account_id)
    return is_moved


def adopt(
    task: OrderTask, order_id: str, *, actor: str, reason: str, evidence: Mapping[str, Any], **fields: Any
) -> bool:
    """`settle` as completed: the broker has the task that nobody holds, as this order."""
    fields |= {"broker_order_id": order_id, "error_code": "", "error_message": ""}
    return settle(task, Status.COMPLETED, actor=actor, reason=reason, evidence=evidence, **fields)


def _move(claim: Claim, to: Status, reason: str, evidence: Mapping[str, Any], **fields: Any) -> None:
    if not settle(claim.task, to, actor=claim.owner, reason=reason, evidence=evidence, **fields):
        raise LeaseLost(f"task {claim.task.public_id} belongs to another worker by now")


def _by_itself() -> AbstractContextManager[Any]:
    """Around one statement. Alone it needs no transaction; in one, what is refused must not undo what is around it."""
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _new_tag() -> str:
    """20 characters that carry no meaning; 36**19 of them, so that chance never gives one twice."""
    return TAG_PREFIX + "".join(secrets.choice(_TAG_ALPHABET) for _ in range(19))
