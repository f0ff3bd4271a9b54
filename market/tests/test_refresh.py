"""Fetching the dump from the broker: a small HTTP server plays the broker."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.exceptions import BrokerError
from accounts.models import TradingAccount
from accounts.sessions import store_session
from market import tasks
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
