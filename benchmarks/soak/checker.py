"""Three accounts of one soak held against each other: the clients', the service's rows, and what the broker took."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.soak.history import History, Kind
from simulator.control import AcceptedOrder

PLACING = frozenset({"place", "autoslice", "exit"})
OPEN = frozenset({"pending", "running", "retrying", "unknown"})
ENDED_AT_BROKER = frozenset({"COMPLETE", "CANCELLED", "REJECTED"})


@dataclass(frozen=True, slots=True)
class Row:
    """One order task as it is at the end. `absent_at`: when it was given up because the broker did not show it."""

    task: str
    user_id: str
    key: str
    tag: str
    operation: str
    params: Mapping[str, Any]
    status: str
    error_code: str
    broker_order_id: str
    absent_at: float | None  # Unix seconds


@dataclass(slots=True)
class Findings:
    """What must not be, a sentence each."""

    duplicates: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    wrong_account: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)

    @property
    def are_none(self) -> bool:
        return not (self.duplicates or self.lost or self.wrong_account or self.stuck)


def compare(
    history: History, rows: Iterable[Row], accepted: Sequence[AcceptedOrder], *, visible_seconds: float
) -> Findings:
    """Compare after everything has come to rest and each account's book was read once more.

    Parameters
    ----------
    visible_seconds : after so long an order of the broker's is in its book whatever it does; a verdict that it is
        absent which came later was wrong, also if it was taken back since
    """
    findings, by_task, taken = Findings(), {row.task: row for row in rows}, _Taken(accepted)
    _compare_history(history, by_task, findings)
    for row in by_task.values():
        _compare_row(row, taken, visible_seconds, findings)
    by_tag = {row.tag: row for row in by_task.values()}
    for tag, roots in taken.sent_by_tag.items():
        known = by_tag.get(tag)
        if known is None:
            findings.duplicates += [f"order {root} at the broker, tag {tag!r}: nobody asked for it" for root in roots]
            continue
        if len(roots) > 1:
            findings.duplicates.append(f"key {known.key}: sent {len(roots)} times, orders {', '.join(sorted(roots))}")
        for user_id in taken.users_by_tag[tag] - {known.user_id}:
            findings.wrong_account.append(f"key {known.key} of {known.user_id} went to {user_id}")
    return findings


class _Taken:
    """The broker's own list, by what one looks for in it."""

    def __init__(self, accepted: Sequence[AcceptedOrder]) -> None:
        self.by_id = {order.order_id: order for order in accepted}
        self.sent_by_tag: dict[str, set[str]] = defaultdict(set)
        self.users_by_tag: dict[str, set[str]] = defaultdict(set)
        self.arrived_at: dict[str, float] = {}
        for order in accepted:
            tag = order.tag or ""
            if order.sent:  # what a rule of the broker has added nobody sent twice
                self.sent_by_tag[tag].add(order.root)
                self.arrived_at[tag] = min(order.arrived_at, self.arrived_at.get(tag, order.arrived_at))
            self.users_by_tag[tag].add(order.user_id)


def _compare_history(history: History, by_task: Mapping[str, Row], findings: Findings) -> None:
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for asked in history:
        keys[asked.user_id, asked.key] |= asked.tasks
        if not asked.answers or not any(answer.is_final for answer in asked.answers):
            findings.lost.append(f"key {asked.key}: never answered")
        for task in asked.tasks:
            row = by_task.get(task)
            if row is None:
                findings.lost.append(f"key {asked.key}: taken on as {task}, and there is no such row")
                continue
            if row.user_id != asked.user_id:
                findings.wrong_account.append(f"key {asked.key} of {asked.user_id} is a row of {row.user_id}")
            if differing := _differing(asked.body, row.params):
                findings.lost.append(f"key {asked.key}: taken on, but the row has another {', '.join(differing)}")
    for (_, key), tasks in keys.items():
        if len(tasks) > 1:
            findings.duplicates.append(f"key {key}: {len(tasks)} tasks")


def _compare_row(row: Row, taken: _Taken, visible_seconds: float, findings: Findings) -> None:
    said = f"key {row.key}, {row.operation} {row.status}"
    if row.status in OPEN or row.status == "dead_letter":
        findings.stuck.append(f"{said} ({row.error_code})")
    order = taken.by_id.get(row.broker_order_id)
    if row.operation not in PLACING:
        if row.status == "completed" and not _is_changed(row, order):
            findings.lost.append(f"{said}, and order {row.broker_order_id} is as it was")
        return
    arrived_at = taken.arrived_at.get(row.tag)
    if row.status == "completed" and (order is None or order.tag != row.tag):
        findings.lost.append(f"{said}, and the broker has no such order")
    if row.status in ("failed", "dead_letter") and arrived_at is not None:
        findings.lost.append(f"{said} ({row.error_code}), and the broker has it")
    elif row.absent_at is not None and arrived_at is not None and arrived_at + visible_seconds < row.absent_at:
        late = row.absent_at - arrived_at
        findings.lost.append(f"{said}: called absent {late:.1f} s after the broker had taken it")


def _is_changed(row: Row, order: AcceptedOrder | None) -> bool:
    if order is None:
        return False
    if row.operation == Kind.CANCEL:
        return order.status in ENDED_AT_BROKER
    return order.modifications > 0


def _differing(body: Mapping[str, Any], params: Mapping[str, Any]) -> list[str]:
    """Fields in which the row is not what was asked for. Numbers may be written in other ways."""
    return [name for name, value in body.items() if name in params and not _same(value, params[name])]


def _same(asked: Any, kept: Any) -> bool:
    try:
        return float(asked) == float(kept)
    except (TypeError, ValueError):
        return str(asked) == str(kept)
