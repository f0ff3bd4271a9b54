"""News of orders: one row for each change, in its transaction, and no reader who resumes ever misses one."""

import random
import threading
import time
from datetime import timedelta
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import KiteApp, TradingAccount
from accounts.shared_scripts import _server
from orders import ledger
from orders.broker_orders import record_broker_update
from orders.halts import Scope, set_state
from orders.models import OrderEvent, OrderNews, OrderTask, TradingState
from orders.news import Kind, News, can_resume, clear_old, give_numbers, heads, news_after
from orders.news_bell import channel
from orders.states import Status
from orders.tasks import tidy_news
from orders.tests.conftest import ORDER, ORDER_ID, Submit

ROW: dict[str, Any] = {
    **ORDER,
    "order_id": ORDER_ID,
    "status": "OPEN",
    "filled_quantity": 0,
    "order_timestamp": "2026-11-25 12:00:01",
}


def unread(account: TradingAccount, after: int = 0) -> list[News]:
    give_numbers()
    return news_after({account.pk: after})


def test_each_change_of_a_task_is_news_of_the_whole_task(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.mark(claim)
    ledger.complete(claim, ORDER_ID)
    found = unread(account)
    assert [(news.seq, news.kind, news.payload["status"], news.payload["version"]) for news in found] == [
        (1, Kind.TASK, "pending", 1),
        (2, Kind.TASK, "running", 2),
        (3, Kind.TASK, "completed", 3),
    ]
    last = found[-1]
    assert (last.reference, last.payload["broker_order_id"]) == (str(task.public_id), ORDER_ID)
    assert last.payload["params"] == ORDER
    assert last.at == OrderEvent.objects.get(task=task, number=3).at


def test_what_is_undone_is_no_news(submit: Submit, account: TradingAccount) -> None:
    with transaction.atomic():
        submit()
        transaction.set_rollback(True)
    assert unread(account) == []


def test_an_order_at_the_broker_is_news_only_where_it_differs(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    row = ROW | {"tag": task.tag}
    record_broker_update(account, row, source="book")
    record_broker_update(account, row, source="socket")
    record_broker_update(account, row | {"filled_quantity": 75, "status": "COMPLETE"}, source="socket")
    found = [news for news in unread(account) if news.kind == Kind.BROKER_ORDER]
    assert [(news.payload["status"], news.payload["filled_quantity"]) for news in found] == [
        ("OPEN", 0),
        ("COMPLETE", 75),
    ]
    assert (found[0].reference, found[0].payload["task"]) == (ORDER_ID, str(task.public_id))
    assert found[0].payload["price"] == "120.5000"  # decimal text, as everywhere


def test_a_halt_of_everything_is_news_of_every_account(account: TradingAccount) -> None:
    other = TradingAccount.objects.create(kite_user_id="XY9999", label="", app=account.app, owner=account.owner)
    set_state(Scope(), TradingState.State.HALTED, actor="user:1", reason="a test")
    set_state(Scope(account), TradingState.State.REDUCING, actor="user:1", reason="a test")
    give_numbers()
    found = news_after({account.pk: 0, other.pk: 0})
    assert [(news.account_id, news.reference, news.payload["state"]) for news in found] == [
        (account.pk, "everything", "halted"),
        (account.pk, "account", "reducing"),
        (other.pk, "everything", "halted"),
    ]


def test_a_row_changes_only_by_getting_its_number(submit: Submit, account: TradingAccount) -> None:
    submit()
    changes: list[dict[str, Any]] = [{"payload": {}}, {"seq": 7, "at": Now()}]
    for change in changes:
        with pytest.raises(IntegrityError), transaction.atomic():
            OrderNews.objects.update(**change)
    give_numbers()
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderNews.objects.update(seq=9)


def test_resuming_is_possible_only_while_nothing_is_missing(submit: Submit, account: TradingAccount) -> None:
    assert can_resume(account.pk, 0)
    for number in range(4):
        submit(f"k{number}")
    give_numbers()
    assert heads([account.pk]) == {account.pk: 4}
    assert [can_resume(account.pk, seq) for seq in (0, 3, 4, 5)] == [True, True, True, False]
    OrderNews.objects.filter(seq__lte=2).delete()
    assert [can_resume(account.pk, seq) for seq in (0, 1, 2, 4)] == [False, False, True, True]
    OrderNews.objects.all().delete()
    submit("k9")
    assert [news.seq for news in unread(account, after=4)] == [5]  # numbers are never given twice


def test_old_rows_are_cleared_away_but_none_that_nobody_could_have_read(
    submit: Submit, account: TradingAccount
) -> None:
    submit()
    give_numbers()
    submit("k2")
    assert clear_old(timedelta(days=1)) == 0
    assert clear_old(timedelta(0)) == 1
    assert OrderNews.objects.get().seq is None


def test_the_periodic_task_numbers_and_clears_away(submit: Submit, account: TradingAccount, settings: Settings) -> None:
    submit()
    settings.ORDER_NEWS_DAYS = 1
    tidy_news()
    assert heads([account.pk]) == {account.pk: 1}
    settings.ORDER_NEWS_DAYS = 0
    tidy_news()
    assert not OrderNews.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_bell_rings_once_a_change_has_committed(
    submit: Submit, account: TradingAccount, valkey: "redis.Redis"
) -> None:
    with valkey.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe(channel())
        pubsub.get_message(timeout=5)
        with transaction.atomic():
            submit()
            assert pubsub.get_message(timeout=0.05) is None
        message = pubsub.get_message(timeout=5)
        assert message is not None
        assert int(message["data"]) == account.pk


@pytest.mark.django_db(transaction=True)
def test_orders_are_taken_on_without_a_bell(submit: Submit, account: TradingAccount, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    _server.cache_clear()
    began = time.monotonic()
    for number in range(20):
        submit(f"k{number}")
    assert time.monotonic() - began < 5  # the bell is tried once, and then left alone for a moment
    assert len(unread(account)) == 20


# --- commits out of order --------------------------------------------------------------------------------------------

WRITERS, READERS, ROWS_EACH = 8, 3, 40


class Reader(threading.Thread):
    """A client that reads what is new again and again, and resumes from the last number that it has."""

    def __init__(self, accounts: list[int], stop: threading.Event) -> None:
        super().__init__()
        self.positions = dict.fromkeys(accounts, 0)
        self.seen: dict[int, list[int]] = {account: [] for account in accounts}
        self.rows: dict[int, list[str]] = {account: [] for account in accounts}
        self._stop_it = stop

    def run(self) -> None:
        try:
            while True:
                is_over = self._stop_it.is_set()  # before the last look, which then sees everything
                give_numbers()
                for news in news_after(self.positions, most=7):
                    self.positions[news.account_id] = news.seq
                    self.seen[news.account_id].append(news.seq)
                    self.rows[news.account_id].append(news.reference)
                if is_over and heads(self.positions) == self.positions:
                    return
        finally:
            connection.close()


class Writer(threading.Thread):
    """It writes rows, and commits each a while later: so they appear in another order than they were written."""

    def __init__(self, accounts: list[int], seed: int) -> None:
        super().__init__()
        self.written: list[tuple[int, str]] = []
        self._accounts, self._dice = accounts, random.Random(seed)

    def run(self) -> None:
        try:
            for number in range(ROWS_EACH):
                with transaction.atomic():
                    for account in self._dice.sample(self._accounts, self._dice.randint(1, len(self._accounts))):
                        row = OrderNews.objects.create(
                            account_id=account, kind=Kind.TASK, reference=f"{self.name}:{number}", payload={}
                        )
                        self.written.append((account, row.reference))
                        time.sleep(self._dice.choice((0, 0.001, 0.02)))
        finally:
            connection.close()


@pytest.fixture
def two_accounts(transactional_db: None) -> list[int]:
    app, owner = KiteApp.objects.create(api_key="k", label=""), User.objects.create_user("asha")
    made = [
        TradingAccount.objects.create(kite_user_id=name, label="", app=app, owner=owner)
        for name in ("AA1111", "BB2222")
    ]
    return [account.pk for account in made]


def test_no_reader_misses_or_repeats_a_row_although_they_commit_out_of_order(two_accounts: list[int]) -> None:
    stop = threading.Event()
    readers = [Reader(two_accounts, stop) for _ in range(READERS)]
    writers = [Writer(two_accounts, seed) for seed in range(WRITERS)]
    for thread in (*readers, *writers):
        thread.start()
    for writer in writers:
        writer.join()
    stop.set()
    for reader in readers:
        reader.join(30)
        assert not reader.is_alive()
    for account in two_accounts:
        written = sorted(reference for writer in writers for of, reference in writer.written if of == account)
        for reader in readers:
            assert reader.seen[account] == list(range(1, len(written) + 1))
            assert sorted(reader.rows[account]) == written
            assert reader.rows[account] == readers[0].rows[account]  # in the same order for everybody
    numbered = OrderNews.objects.filter(account=two_accounts[0]).order_by("seq").values_list("pk", flat=True)
    assert list(numbered) != sorted(numbered), "nothing committed out of order: this has proven nothing"


def test_a_row_that_commits_late_gets_a_later_number(two_accounts: list[int]) -> None:
    account = two_accounts[0]
    may_commit, has_written = threading.Event(), threading.Event()

    def late() -> None:
        try:
            with transaction.atomic():
                OrderNews.objects.create(account_id=account, kind=Kind.TASK, reference="early", payload={})
                has_written.set()
                may_commit.wait(10)
        finally:
            connection.close()

    thread = threading.Thread(target=late)
    thread.start()
    assert has_written.wait(10)
    OrderNews.objects.create(account_id=account, kind=Kind.TASK, reference="late", payload={})
    give_numbers()
    assert [(news.seq, news.reference) for news in news_after({account: 0})] == [(1, "late")]
    may_commit.set()
    thread.join()
    give_numbers()
    assert [(news.seq, news.reference) for news in news_after({account: 1})] == [(2, "early")]


def test_the_news_of_one_task_are_never_turned_round(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    for reason in ("over_budget", "rate_limited"):
        claim = ledger.claim(account, "w")
        assert claim is not None
        ledger.retry(claim, reason, "", after_seconds=0, costs_an_attempt=False)
        give_numbers()
    task = OrderTask.objects.get(pk=task.pk)
    ledger.settle(task, Status.FAILED, actor="t", reason="expired", evidence={})
    assert [news.payload["version"] for news in unread(account)] == [1, 2, 3, 4, 5, 6]
