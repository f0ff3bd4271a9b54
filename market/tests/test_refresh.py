"""Fetching the dump from the broker: a small HTTP server plays the broker."""

import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone
from kombu.exceptions import OperationalError
from pytest_django import Settings

from accounts.exceptions import BrokerError
from accounts.models import TradingAccount
from accounts.sessions import store_session
from market import refresh, tasks
from market.calendar_loading import load_calendar
from market.exceptions import NoAccountForData
from market.models import Instrument, InstrumentImport
from market.refresh import refresh_instruments
from market.tests.dumps import Row, dump, index, option, stock

pytestmark = pytest.mark.django_db


class FakeBroker(ThreadingHTTPServer):
    """Answers `/instruments` with `content`, and 403 to the tokens in `dead_tokens`."""

    content = dump([index(), stock(), option()])
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.dead_tokens: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    server: FakeBroker

    def do_GET(self) -> None:
        token = self.headers["Authorization"].rpartition(":")[2]
        status, kind, body = 200, "text/csv", self.server.content
        if token in self.server.dead_tokens or self.path != "/instruments":
            body = (
                b'{"status":"error","message":"Incorrect `api_key` or `access_token`.","error_type":"TokenException"}'
            )
            status, kind = 403, "application/json"
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broker(settings: Settings) -> Iterator[FakeBroker]:
    with FakeBroker() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.KITE_API_ROOT = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def logged_in(account: TradingAccount) -> TradingAccount:
    store_session(account, {"user_id": account.kite_user_id, "access_token": "token-of-asha"})
    return account


@pytest.fixture
def second(logged_in: TradingAccount) -> TradingAccount:
    account = TradingAccount.objects.create(
        kite_user_id="CD5678",
        label="Second",
        app=logged_in.app,
        owner=logged_in.owner,
        priority=200,
        data_failover=True,
    )
    store_session(account, {"user_id": "CD5678", "access_token": "token-of-second"})
    return account


def test_the_dump_comes_through_the_preferred_account(broker: FakeBroker, second: TradingAccount) -> None:
    report = refresh_instruments()
    assert (report.account, report.outcome, report.added) == ("AB1234", "completed", 3)


def test_another_account_steps_in_when_the_first_has_no_session(broker: FakeBroker, second: TradingAccount) -> None:
    broker.dead_tokens.add("token-of-asha")
    assert refresh_instruments().account == "CD5678"


def test_without_an_account_that_works_the_brokers_answer_is_passed_on(
    broker: FakeBroker, logged_in: TradingAccount
) -> None:
    broker.dead_tokens.add("token-of-asha")
    with pytest.raises(BrokerError):
        refresh_instruments()
    assert Instrument.objects.count() == 0


def test_without_any_account_it_says_what_to_do() -> None:
    with pytest.raises(NoAccountForData, match="mark one in the admin"):
        refresh_instruments()


def test_the_task_can_run_twice(broker: FakeBroker, logged_in: TradingAccount) -> None:
    tasks.refresh_instruments.apply(throw=True)
    tasks.refresh_instruments.apply(throw=True)
    assert [report.added for report in InstrumentImport.objects.order_by("pk")] == [3, 0]


def test_the_command_asks_the_broker(broker: FakeBroker, logged_in: TradingAccount) -> None:
    out = StringIO()
    call_command("import_instruments", stdout=out)
    assert "asking the broker as Asha Rao (AB1234)" in out.getvalue()
    assert "3 added, 0 changed, 0 retired" in out.getvalue()


def test_the_command_reads_a_file_and_names_the_rows_it_left_out(tmp_path: Path) -> None:
    file = tmp_path / "instruments.csv"
    file.write_bytes(dump([index(), stock(), Row("TCS", "x")]))
    out = StringIO()
    call_command("import_instruments", file=file, stdout=out)
    assert "2 added" in out.getvalue()
    assert "line 4: instrument_token is 'x'" in out.getvalue()
    assert InstrumentImport.objects.get().source == "instruments.csv"


def test_the_command_says_why_nothing_was_imported(tmp_path: Path) -> None:
    empty = tmp_path / "empty.csv"
    empty.touch()
    with pytest.raises(CommandError, match="Nothing was imported: the dump is empty"):
        call_command("import_instruments", file=empty)
    with pytest.raises(CommandError, match=r"cannot read .*: No such file"):
        call_command("import_instruments", file=tmp_path / "none.csv")


OPEN_DAY = "2026-11-25T{}+05:30"


@pytest.mark.parametrize(
    ("moment", "due"),
    [
        (OPEN_DAY.format("08:20:00"), False),
        (OPEN_DAY.format("08:35:00"), True),
        (OPEN_DAY.format("23:59:00"), True),
        ("2026-11-22T10:00:00+05:30", False),  # a Sunday
        ("2026-10-02T10:00:00+05:30", False),  # every market is closed
        ("2026-11-24T10:00:00+05:30", True),  # the commodity market has its evening
        ("2029-03-04T10:00:00+05:30", True),  # nobody has said anything about that year
    ],
)
def test_the_days_dump_is_due_from_the_morning_on_of_days_on_which_a_market_trades(
    db: None, settings: Settings, moment: str, due: bool
) -> None:
    load_calendar(Path(settings.MARKET_DATA_DIR))
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = moment, time.time()
    assert refresh.is_due() is due


def test_a_dump_of_before_the_morning_is_yesterdays_and_one_of_after_it_is_enough(
    broker: FakeBroker, logged_in: TradingAccount, settings: Settings
) -> None:
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = OPEN_DAY.format("07:00:00"), time.time()
    refresh_instruments()
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = OPEN_DAY.format("09:00:00"), time.time()
    InstrumentImport.objects.update(started_at=timezone.now() - timedelta(hours=2))
    assert refresh.is_due()

    tasks.refresh_instruments_when_due.apply(throw=True)
    tasks.refresh_instruments_when_due.apply(throw=True)
    assert InstrumentImport.objects.count() == 2
    InstrumentImport.objects.update(started_at=timezone.now() - timedelta(hours=2))
    assert not refresh.is_due()


def test_after_a_failure_a_minute_passes_before_the_next_try(
    broker: FakeBroker, logged_in: TradingAccount, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = OPEN_DAY.format("09:00:00"), time.time()
    broker.content = b"<html>maintenance</html>\n"
    tasks.refresh_instruments_when_due.apply(throw=True)
    assert "tried again in a minute" in caplog.text
    assert not refresh.is_due()
    InstrumentImport.objects.update(started_at=timezone.now() - timedelta(seconds=61))
    assert refresh.is_due()


def test_an_administrator_asks_for_an_import_and_reads_what_came_of_it(
    broker: FakeBroker, logged_in: TradingAccount, admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    rung: list[dict[str, Any]] = []
    monkeypatch.setattr(tasks.refresh_instruments, "apply_async", lambda **how: rung.append(how))
    path = "/api/v1/admin/instruments/refresh"
    assert admin_client.get(path).json() == {"last_import": None}
    answer = admin_client.post(path, content_type="application/json")
    assert (answer.status_code, answer.json(), len(rung)) == (202, {"last_import": None}, 1)

    refresh_instruments()
    last = admin_client.get(path).json()["last_import"]
    assert {name: last[name] for name in ("outcome", "account", "rows", "added", "changed", "retired")} == {
        "outcome": "completed", "account": "AB1234", "rows": 3, "added": 3, "changed": 0, "retired": 0,
    }  # fmt: skip
    assert last["duration_seconds"] > 0


def test_five_imports_an_hour_may_be_asked_for_and_looking_is_free(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()
    monkeypatch.setattr(tasks.refresh_instruments, "apply_async", lambda **_how: None)
    path = "/api/v1/admin/instruments/refresh"
    assert [admin_client.post(path, content_type="application/json").status_code for _ in range(6)] == [202] * 5 + [429]
    refused = admin_client.post(path, content_type="application/json")
    assert refused.json()["error"]["code"] == "throttled"
    assert int(refused["Retry-After"]) > 3000
    assert admin_client.get(path).status_code == 200


def test_without_workers_nobody_is_told_that_one_will_come(
    admin_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.clear()

    def lost(**_how: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(tasks.refresh_instruments, "apply_async", lost)
    answer = admin_client.post("/api/v1/admin/instruments/refresh", content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
