"""The service with one of its protections taken out: `python -m benchmarks.soak.mutations NAME PROGRAM ARGUMENT…`.

A proof that cannot fail proves nothing: with any of these the soak has to. They live here and not behind a setting of
the service's, so that nothing which a server could be given has them in it.
"""

import os
import runpy
import sys
from collections.abc import Callable
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")


def without_marker() -> None:
    """Nothing is written down before an order is sent."""
    from orders import ledger
    from orders.models import OrderTask

    mark = ledger.mark

    def mark_and_forget(claim: ledger.Claim) -> None:
        mark(claim)
        OrderTask.objects.filter(pk=claim.task.pk).update(send_started_at=None)

    ledger.mark = mark_and_forget


def without_fencing() -> None:
    """A worker that was held up goes on as if its order were still its own."""
    from contextlib import nullcontext

    from django.db.models.functions import Now

    from orders import execute, ledger
    from orders.models import OrderTask

    def mark(claim: ledger.Claim) -> None:
        OrderTask.objects.filter(pk=claim.task.pk).update(send_started_at=Now())

    ledger.mark = mark
    execute.nothing_sent_after = nullcontext  # type: ignore[assignment,attr-defined]
    ledger.Claim.is_fenced_off = property(lambda claim: False)  # type: ignore[assignment,method-assign]


def without_canary() -> None:
    """A book that lacks an order proves that it is not there, also where nothing shows that the book is new."""
    from orders import reconcile

    reconcile._later_order = lambda book, task: "nobody looked"


def without_fingerprint() -> None:
    """Whoever sends a key again gets its first order, whatever was asked for now."""
    from accounts.models import TradingAccount
    from orders import ledger
    from orders.models import OrderTask

    def taken_before(account: TradingAccount, key: str, fingerprint: str) -> OrderTask | None:
        return OrderTask.objects.filter(account=account, idempotency_key=key).first()

    ledger.taken_before = taken_before


MUTATIONS: dict[str, Callable[[], Any]] = {
    "marker": without_marker,
    "fencing": without_fencing,
    "canary": without_canary,
    "fingerprint": without_fingerprint,
}


def command(name: str, ordinary: tuple[str, ...]) -> tuple[str, ...]:
    """`ordinary`, which begins with an interpreter, in a service without `name`."""
    return (ordinary[0], "-m", "benchmarks.soak.mutations", name, *ordinary[1:])


if __name__ == "__main__":
    django.setup()
    MUTATIONS[sys.argv[1]]()
    sys.argv = sys.argv[2:]
    if sys.argv[0] == "-m":
        module, sys.argv = sys.argv[1], sys.argv[1:]
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
