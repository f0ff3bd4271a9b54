"""Days and zones: what a process's own zone must not change, and what the end of a day does to open questions."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db.models.functions import Now
from pytest_django import Settings

from accounts import clock
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders.execute import drain
from orders.models import OrderTask
from orders.reconcile import reconcile
from orders.states import Status
from orders.sweep import sweep
from orders.tests.conftest import Submit, posts
from orders.tests.trading import TODAY

ROOT = Path(__file__).resolve().parents[2]
# Decisions of one moment and of broker times without a zone, by a process that is told where it stands.
DECISIONS = """
import django; django.setup()
from accounts import clock
from orders.broker_values import moment
from django.utils import timezone
print(clock.today(), clock.now().astimezone(clock.IST).strftime("%H:%M"))
print(moment("2026-11-25 10:42:07"))
print(timezone.get_default_timezone_name())
"""


@pytest.mark.parametrize("market_clock", ["2026-11-25T00:10:00+05:30", "2026-11-25T23:50:00+05:30"])
def test_f71_a_process_decides_alike_whatever_its_own_zone_is(market_clock: str) -> None:
    """F71: the day in India at ten past and ten to midnight, and the broker's times, in three zones."""
    answers = set()
    for zone in ("UTC", "Asia/Kolkata", "America/New_York"):
        environment = os.environ | {"TZ": zone, "MARKET_CLOCK": market_clock}
        environment |= {"DJANGO_SETTINGS_MODULE": "tickerproject.testing.settings"}
        done = subprocess.run(
            [sys.executable, "-c", DECISIONS], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        answers.add(done.stdout)
    [answer] = answers
    assert answer.startswith(f"2026-11-25 {market_clock[11:16]}\n2026-11-25 05:12:07+00:00\n")


def test_f75_an_outcome_that_is_unknown_at_midnight_goes_to_a_person_and_is_never_held_against_another_days_book(
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """F75: the new day's book is whole, empty, and says nothing of yesterday."""
    settings.ORDER_ABSENCE_SECONDS = 0.0
    monkeypatch.setattr(clock, "today", lambda: TODAY)
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))
    submit()
    drain(account)
    monkeypatch.setattr(clock, "today", lambda: TODAY + timedelta(days=1))
    broker.answer("GET /orders", Answer([]))
    OrderTask.objects.update(recon_after=Now() - timedelta(seconds=1))
    reconcile(account)
    assert not any(asked.path == "/orders" and asked.method == "GET" for asked in broker.asked), "not even asked for"
    sweep()
    sweep()
    task = OrderTask.objects.get()
    assert (task.status, task.error_code, task.absent_reads) == (Status.DEAD_LETTER, "unresolved", 0)
    assert caplog.text.count("needs a person") == 1
    assert posts(broker) == 1
