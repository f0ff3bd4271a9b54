"""One soak: trade through faults, let everything come to rest, compare."""

import json
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass

from benchmarks.soak import faults, mutations, rows
from benchmarks.soak.broker_users import Trader
from benchmarks.soak.checker import Findings, compare
from benchmarks.soak.clients import Clients, Market
from benchmarks.soak.history import Kind
from benchmarks.soak.profile import ABSENCE_SECONDS, SETTLED_SECONDS, STRICT
from benchmarks.soak.rig import BEAT, CONTROL_TOKEN, PROJECT, PUMP, PYTHON, WORKER, Rig, web
from simulator.control import SimulatorControl
from tickerproject.local.ports import is_free

Progress = Callable[[int, int], None]
QUIET_ACCOUNTS, HIDDEN_READS, TRIED_SECONDS = 2, 6, 120.0
BROKEN_TRIED_SECONDS = 30.0  # an account in which a duplicate was seen is stopped: what waits there goes out no more


@dataclass(frozen=True, slots=True)
class Report:
    """What one soak came to. The four that must be 0 are the checker's; `kills` counts ended and halted processes."""

    orders: int
    closing: int  # of them: by which each account shows that its book is new
    faults: int
    duplicates: int
    lost: int
    wrong_account: int
    stuck: int
    kills: int
    unknown: int
    refused: int
    changes: int
    seconds: float
    seed: int
    commit: str

    def as_json(self) -> str:
        return json.dumps(asdict(self))


class Soak:
    """Servers and processes for several seeds, each with accounts of its own. A context manager."""

    def __init__(self, seeds: Sequence[int], *, accounts: int, without: str = "", keep: bool = False) -> None:
        self._traders = {
            seed: [Trader(place * accounts + number) for number in range(accounts)] for place, seed in enumerate(seeds)
        }
        self.rig = Rig([trader for traders in self._traders.values() for trader in traders], STRICT, keep=keep)
        self._without = without
        self._port = self.rig.port()

    def __enter__(self) -> "Soak":
        self.rig.__enter__()
        try:
            self._start_processes()
        except BaseException:  # also where it is interrupted: the servers must not stay behind
            self.rig.__exit__()
            raise
        self._control = SimulatorControl(self.rig.environment["KITE_API_ROOT"], CONTROL_TOKEN, timeout_seconds=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._control.close()
        self.rig.__exit__()

    def _start_processes(self) -> None:
        commands = {"web": web(self._port), "worker-1": WORKER, "worker-2": WORKER, "pump": PUMP, "beat": BEAT}
        for name, ordinary in commands.items():
            command = mutations.command(self._without, ordinary) if self._without else ordinary
            if name in faults.WORKERS:
                command = (*command, "--hostname", f"{name}@%h")
            failpoints = faults.FAILPOINTS | (faults.WITHOUT_FENCING if self._without == "fencing" else {})
            self.rig.add(name, command, FAILPOINTS=failpoints.get(name, ""))
        self.rig.wait("web", lambda: not is_free(self._port))

    def hold(self, seed: int, orders: int, *, rate: float, on_progress: Progress) -> tuple[Report, Findings]:
        """One soak with the accounts of this seed."""
        began = time.monotonic()
        traders = self._traders[seed]
        users = [trader.user_id for trader in traders]
        url = self.rig.environment["DATABASE_URL"]
        clients = Clients(self._prepare(traders), seed=seed, rate=rate, quiet=frozenset(users[:QUIET_ACCOUNTS]))
        opening = [rule for user in users[:QUIET_ACCOUNTS] for rule in faults.quiet_opening(user, reads=HIDDEN_READS)]
        self._control.script(*opening, *faults.rules(seed))
        hurting = faults.Hurting(self.rig, seed, longer_than_a_lease=self._without == "fencing")
        hurting.start()
        try:
            clients.trade(orders, lambda placed: on_progress(placed, orders))
            # Whatever was taken on meets the faults, however slow the machine is.
            rows.wait_until_tried(url, users, BROKEN_TRIED_SECONDS if self._without else TRIED_SECONDS)
        finally:
            hurting.end()
        hits = sum(int(rule["hits"]) for rule in self._control.rules())
        self._control.clear()
        clients.close(users)
        if not rows.wait_until_at_rest(url, users, SETTLED_SECONDS):
            # A machine that stands still for longer than a lease loses a closing order too, and nothing newer than it
            # shows that it is absent. What hangs for any other reason still does after one more.
            clients.close(rows.users_whose_newest_is_unknown(url, users), name="very-last")
            rows.wait_until_at_rest(url, users, SETTLED_SECONDS)
        self._step("books", traders)
        found = rows.rows_of(url, users)
        accepted = [order for order in self._control.orders() if order.user_id in users]
        findings = compare(clients.history, found, accepted, visible_seconds=ABSENCE_SECONDS)
        report = Report(
            orders=sum(row.operation == Kind.PLACE for row in found),
            closing=clients.closing,
            faults=hits,
            duplicates=len(findings.duplicates),
            lost=len(findings.lost),
            wrong_account=len(findings.wrong_account),
            stuck=len(findings.stuck),
            kills=hurting.kills,
            unknown=rows.unknown_of(url, users),
            refused=sum(not asked.tasks for asked in clients.history if asked.kind is Kind.PLACE),
            changes=sum(row.operation != Kind.PLACE for row in found),
            seconds=round(time.monotonic() - began, 1),
            seed=seed,
            commit=commit(),
        )
        return report, findings

    def _prepare(self, traders: Sequence[Trader]) -> Market:
        told = json.loads(self._step("prepare", traders).splitlines()[-1])
        return Market(address=f"http://127.0.0.1:{self._port}", **told)

    def _step(self, name: str, traders: Sequence[Trader]) -> str:
        numbers = [str(trader.number) for trader in traders]
        return self.rig.run(PYTHON, "-m", "benchmarks.soak.steps", name, *numbers)


def commit() -> str:
    """The commit that is soaked; with a plus where the working copy has more. Empty outside of a repository."""
    said = ""
    with suppress(OSError):
        said = _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else "")
    return said


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False).stdout.strip()
