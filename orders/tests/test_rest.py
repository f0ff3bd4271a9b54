"""Orders over REST: what a program is told, and what is written down for it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError
from pytest_django import Settings

from accounts import audit
from accounts.actions import Action
from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import halts, ledger
from orders.execute import drain
from orders.models import BrokerOrder, OrderBook, OrderTask, TradingState
from orders.sweep import sweep
from orders.tests.conftest import ORDER_ID, posts
from orders.tests.racing import right_after
from orders.tests.trading import BODY, TODAY, Trader, quote

pytestmark = pytest.mark.django_db


def error_of(response: Any) -> Any:
    return response.json()["error"]


def failed_checks(response: Any) -> list[str]:
    return [check["code"] for check in error_of(response)["details"]["checks"]]


def test_an_order_is_written_down_and_told_as_a_task(trader: Trader) -> None:
    response = trader.place(key="first", strategy="straddle")
    assert response.status_code == 202
    told = response.json()
    task = OrderTask.objects.get()
    assert response["Location"] == f"/api/v1/orders/{task.public_id}"
    assert (told["id"], told["status"], told["words"]) == (str(task.public_id), "pending", "Waiting")
    assert task.params == {
        "variety": "regular",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "product": "NRML",
        "order_type": "LIMIT",
        "price": "120.5",
        "validity": "DAY",
        "strategy": "straddle",
    }
    assert task.principal.startswith("apikey:")
    assert task.trading_date == TODAY


def test_a_limit_order_may_be_sent_until_the_market_closes_and_a_market_order_for_a_minute(trader: Trader) -> None:
    quote(120.5)
    trader.place()
    trader.place(order_type="MARKET", price=None, market_protection="-1", quantity=150)
    market_order, limit_order = OrderTask.objects.all()
    assert limit_order.valid_until - limit_order.created_at == pytest.approx(
        timedelta(hours=3.5), abs=timedelta(seconds=5)
    )
    assert market_order.valid_until - market_order.created_at == pytest.approx(
        timedelta(minutes=1), abs=timedelta(seconds=5)
    )


def test_an_order_goes_to_the_broker_as_it_was_asked_for(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    trader.place(strategy="straddle")
    drain(trader.account)
    task = OrderTask.objects.get()
    assert (task.status, task.broker_order_id) == ("completed", ORDER_ID)
    sent = next(asked.form for asked in broker.asked if asked.method == "POST")
    assert sent == {
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": "75",
        "product": "NRML",
        "order_type": "LIMIT",
        "price": "120.5",
        "validity": "DAY",
        "variety": "regular",
        "tag": task.tag,
    }


def test_the_same_key_again_is_the_same_order(trader: Trader) -> None:
    first = trader.place(key="k")
    again = trader.place(key="k", price=120.5, validity="DAY", variety="regular")  # the same in other words
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == first.json()["id"]
    assert again["Idempotent-Replayed"] == "true"
    assert OrderTask.objects.count() == 1


def test_the_same_key_with_another_order_is_refused_and_changes_nothing(trader: Trader) -> None:
    trader.place(key="k")
    other = trader.place(key="k", quantity=150)
    assert (other.status_code, error_of(other)["code"]) == (422, "idempotency_key_reused")
    assert [task.params["quantity"] for task in OrderTask.objects.all()] == [75]
    assert AuditEvent.objects.filter(kind="order.key_reused").count() == 1


def test_a_replay_is_answered_also_when_the_order_would_be_refused_by_now(
    trader: Trader, account: TradingAccount
) -> None:
    first = trader.place(key="k")
    TradingAccount.objects.filter(pk=account.pk).update(is_trading=False)
    assert trader.place(key="k").json()["id"] == first.json()["id"]
    assert trader.place(key="new").status_code == 409


def test_f22_one_key_on_two_accounts_is_two_orders(trader: Trader, account: TradingAccount) -> None:
    other = TradingAccount.objects.create(
        kite_user_id="CD5678", label="Meera", app=account.app, owner=account.owner, is_trading=True
    )
    store_session(other, {"user_id": "CD5678", "access_token": "token-of-the-other"})
    first, second = trader.place(key="same"), Trader(other).place(key="same")
    assert (first.status_code, second.status_code) == (202, 202)
    assert {task.account.kite_user_id for task in OrderTask.objects.all()} == {"AB1234", "CD5678"}


@pytest.mark.parametrize("key", ["", "with blank", "ü", "x" * 129, "a/b"])
def test_without_a_proper_key_nothing_is_taken_on(trader: Trader, key: str) -> None:
    response = trader.client.post(
        "/api/v1/orders",
        data={"account": str(trader.account.public_id)} | BODY,
        content_type="application/json",
        headers={"Idempotency-Key": key} if key else {},
    )
    assert (response.status_code, error_of(response)["code"]) == (400, "idempotency_key_required")
    assert not OrderTask.objects.exists()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"quantity": 80}, "lot_size"),
        ({"price": "120.52"}, "tick_size"),
        ({"quantity": 1875}, "freeze_quantity"),
        ({"product": "CNC"}, "product"),
        ({"tradingsymbol": "NIFTY26DEC99999CE"}, "unknown_symbol"),
        ({"exchange": "NSE", "tradingsymbol": "NIFTY 50"}, "not_tradable"),
        ({"order_type": "MARKET", "price": None}, "market_protection"),
        ({"price": None}, "form"),
        ({"order_type": "SL", "trigger_price": "130"}, "stop_price"),
        ({"variety": "iceberg", "iceberg_legs": 3}, "form"),
        ({"variety": "amo"}, "market_hours"),
        ({"validity": "TTL"}, "form"),
        ({"autoslice": True, "quantity": 1800 * 10 + 75}, "freeze_quantity"),
        ({"autoslice": True, "exit": True}, "form"),
        ({"market_protection": "2"}, "form"),
        ({"disclosed_quantity": 75}, "disclosed_quantity"),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused_before_the_broker_with_figures(
    trader: Trader, broker: ScriptedBroker, changes: dict[str, Any], code: str
) -> None:
    response = trader.place(key="free", **changes)
    assert response.status_code == 422
    assert code in failed_checks(response)
    assert not OrderTask.objects.exists()
    assert posts(broker) == 0
    assert trader.place(key="free").status_code == 202  # the key of a refused order is free


def test_a_closed_market_refuses_and_says_since_when(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    from accounts import clock
    from orders.tests.trading import NOON

    monkeypatch.setattr(clock, "now", lambda: NOON + timedelta(hours=5))
    response = trader.place()
    assert failed_checks(response) == ["market_hours"]
    assert "closed since 15:30" in error_of(response)["message"]
    assert trader.place(variety="amo").status_code == 202


def test_an_account_that_may_not_trade_or_is_logged_out_is_told_apart(trader: Trader, account: TradingAccount) -> None:
    account.session.delete()
    assert failed_checks(trader.place()) == ["account_logged_out"]
    TradingAccount.objects.filter(pk=account.pk).update(is_trading=False)
    response = trader.place()
    assert response.status_code == 409
    assert failed_checks(response) == ["account_disabled", "account_logged_out"]


BAD_QUANTITIES: list[Any] = [-1, 0, 1e309, "75", 7.5, True, 2**63, "１２", "1_000", None, [], {}, 75.0]
BAD_PRICES: list[Any] = [
    -1,
    0,
    "1e5",
    "Infinity",
    "NaN",
    "１２",
    "1_000",
    True,
    [],
    {},
    "0.00001",
    "9" * 13,
    "12,5",
    "",
]


@pytest.mark.parametrize(
    "changes",
    [
        *({"quantity": value} for value in BAD_QUANTITIES),
        *({"price": value} for value in BAD_PRICES),
        {"exchange": "nfo"},
        {"tradingsymbol": "../../session/token"},
        {"tradingsymbol": "NIFTY\r\nX: 1"},
        {"tradingsymbol": "nifty'; drop table orders_ordertask; --"},
        {"tradingsymbol": "{0.__class__}"},
        {"variety": "regular/../session"},
        {"strategy": "a b"},
        {"auction_number": "1/2", "variety": "auction"},
        {"account": "AB1234"},
        {"tag": "mine"},
        {"status": "completed"},
        {"lease_token": 7},
        {"is_exit": True},
        {"transaction_type": "SHORT"},
        {"market_protection": 0, "order_type": "MARKET", "price": None},
        {"valid_for_seconds": 0},
    ],
)
def test_f83_bad_input_is_a_400_that_names_the_field(trader: Trader, changes: dict[str, Any]) -> None:
    response = trader.place(**changes)
    assert response.status_code == 400, response.content
    if error_of(response)["code"] == "invalid_input":  # else it was no JSON
        assert (
            set(error_of(response)["details"])
            >= set(changes) & {*BODY, "tag", "status", "account"} - {"order_type", "price"}
            or changes
        )
    assert not OrderTask.objects.exists()


def test_f80_a_foreign_order_is_not_found_whatever_is_asked(trader: Trader, account: TradingAccount) -> None:
    ravi = User.objects.create_user("ravi")
    theirs = TradingAccount.objects.create(
        kite_user_id="CD5678", label="Ravi", app=account.app, owner=ravi, is_trading=True
    )
    store_session(theirs, {"user_id": "CD5678", "access_token": "t"})
    foreign = Trader(theirs).place().json()["id"]
    asks = [
        trader.client.get(f"/api/v1/orders/{foreign}"),
        trader.send("patch", f"/api/v1/orders/{foreign}", {"price": "1.05"}),
        trader.send("delete", f"/api/v1/orders/{foreign}"),
        trader.send("post", f"/api/v1/orders/{foreign}/requeue", {"reason": "because"}),
        trader.send("post", f"/api/v1/orders/{foreign}/resolve", {"reason": "because", "outcome": "failed"}),
        trader.send("post", "/api/v1/batch/cancel", {"account": str(account.public_id), "ids": [foreign]}),
        trader.place(account=str(theirs.public_id)),
        trader.client.get(f"/api/v1/orders?account={theirs.public_id}"),
    ]
    assert [response.status_code for response in asks] == [404] * len(asks)
    assert trader.client.get("/api/v1/orders").json()["total"] == 0
    assert OrderTask.objects.get().status == "pending"


def test_who_may_only_read_sees_orders_and_changes_none(trader: Trader, account: TradingAccount) -> None:
    placed = trader.place().json()["id"]
    reader = Trader(account, Action.READ)
    assert reader.client.get(f"/api/v1/orders/{placed}").status_code == 200
    assert reader.place().status_code == 403
    assert reader.send("delete", f"/api/v1/orders/{placed}").status_code == 403


def test_orders_are_listed_newest_first_and_filtered(trader: Trader) -> None:
    ids = [trader.place(strategy=name, quantity=75 * n).json()["id"] for n, name in enumerate(["a", "b", "a"], 1)]
    listed = trader.client.get("/api/v1/orders?strategy=a&status=pending").json()
    assert [item["id"] for item in listed["items"]] == [ids[2], ids[0]]
    assert trader.client.get("/api/v1/orders?trading_date=2026-11-24").json()["total"] == 0
    assert trader.client.get("/api/v1/orders?nonsense=1").status_code == 400


def test_an_orders_own_page_shows_how_it_came_about(trader: Trader, valkey: object) -> None:
    placed = trader.place().json()["id"]
    drain(trader.account)
    told = trader.client.get(f"/api/v1/orders/{placed}").json()
    assert [event["to_status"] for event in told["events"]] == ["pending", "running", "completed"]
    assert told["broker_order_id"] == ORDER_ID


def test_a_caller_may_wait_for_the_outcome(trader: Trader, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def ended(task: OrderTask, **_: Any) -> None:
        seen.append(task.pk)
        task.status = "completed"

    monkeypatch.setattr(OrderTask, "refresh_from_db", ended)
    assert trader.place(query="?wait=2").json()["status"] == "completed"
    seen.clear()
    settings.ORDER_WAITERS = 0  # too many wait already: the answer comes at once
    trader.place(query="?wait=2", quantity=150)
    assert len(seen) == 1  # once, to read what the database has filled in
    assert trader.place(query="?wait=11").status_code == 400


# --- changes and cancels ---------------------------------------------------------------------------------------------


def at_the_broker(trader: Trader, *, status: str = "OPEN", **changes: Any) -> str:
    """The id of a task whose order the broker has."""
    placed: str = trader.place(**changes).json()["id"]
    drain(trader.account)
    task = OrderTask.objects.get(public_id=placed)
    BrokerOrder.objects.create(
        account=trader.account,
        task=task,
        order_id=task.broker_order_id,
        tag=task.tag,
        status=status,
        variety="regular",
        exchange="NFO",
        tradingsymbol="NIFTY26DEC26000CE",
        transaction_type="BUY",
        order_type="LIMIT",
        product="NRML",
        quantity=75,
        price="120.5",
        source="book",
    )
    return placed


def test_f25_an_order_that_waits_is_cancelled_here(trader: Trader, broker: ScriptedBroker) -> None:
    placed = trader.place().json()["id"]
    response = trader.send("delete", f"/api/v1/orders/{placed}", key="c")
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["words"]) == (placed, "Cancelled")
    assert trader.send("delete", f"/api/v1/orders/{placed}").status_code in {200, 202}
    assert posts(broker) == 0


def test_a_cancel_is_sent_with_the_brokers_id(trader: Trader, broker: ScriptedBroker, valkey: object) -> None:
    placed = at_the_broker(trader)
    broker.answer(f"DELETE /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    response = trader.send("delete", f"/api/v1/orders/{placed}", key="c")
    assert (response.status_code, response.json()["operation"]) == (202, "cancel")
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").status == "completed"
    assert trader.send("delete", f"/api/v1/orders/{placed}", key="c").status_code == 200


def test_f25_a_cancel_waits_for_the_order_and_goes_out_after_it(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = trader.place().json()["id"]
    OrderBook.objects.create(account=trader.account, trading_date=TODAY, read_at="2026-11-25T06:00Z", orders=0)
    claim = ledger.claim(trader.account, "w")
    assert claim is not None
    assert trader.send("delete", f"/api/v1/orders/{placed}").status_code == 202
    assert ledger.claim(trader.account, "w2") is None  # the order is under way: its cancel waits
    broker.answer(f"DELETE /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    ledger.mark(claim)
    ledger.complete(claim, ORDER_ID)
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").broker_order_id == ORDER_ID


def test_f25_a_cancel_of_an_order_that_is_over_sends_nothing(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = at_the_broker(trader, status="COMPLETE")
    trader.send("delete", f"/api/v1/orders/{placed}")
    drain(trader.account)
    cancel = OrderTask.objects.get(operation="cancel")
    assert (cancel.status, cancel.events.last().reason) == ("completed", "already_terminal")  # type: ignore[union-attr]
    assert not any(asked.method == "DELETE" for asked in broker.asked)


def test_a_cancel_of_an_order_that_was_refused_has_nothing_to_do(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = trader.place().json()["id"]
    claim = ledger.claim(trader.account, "w")
    assert claim is not None
    trader.send("delete", f"/api/v1/orders/{placed}")
    ledger.fail(claim, "InputException", "no")
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").error_code == "order_not_at_broker"


def test_a_change_is_checked_like_an_order_and_sent(trader: Trader, broker: ScriptedBroker, valkey: object) -> None:
    placed = at_the_broker(trader)
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"quantity": 80})
    assert failed_checks(refused) == ["lot_size"]
    broker.answer(f"PUT /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    response = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "121.00"})
    assert (response.status_code, response.json()["operation"]) == (202, "modify")
    drain(trader.account)
    sent = next(asked.form for asked in broker.asked if asked.method == "PUT")
    assert sent["price"] == "121"


def test_f26_the_twenty_sixth_change_of_an_order_is_refused_here(trader: Trader, valkey: object) -> None:
    placed = at_the_broker(trader)
    for number in range(25):
        changed = trader.send("patch", f"/api/v1/orders/{placed}", {"price": f"{121 + number}"})
        assert changed.status_code == 202
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "99"})
    assert failed_checks(refused) == ["too_many_changes"]


def test_an_order_that_is_over_cannot_be_changed(trader: Trader, valkey: object) -> None:
    placed = at_the_broker(trader, status="COMPLETE")
    response = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "121"})
    assert (response.status_code, failed_checks(response)) == (409, ["order_over"])


def test_an_order_placed_elsewhere_is_changed_and_cancelled_by_the_brokers_id(
    trader: Trader, account: TradingAccount, broker: ScriptedBroker, valkey: object
) -> None:
    BrokerOrder.objects.create(
        account=account,
        order_id="777",
        status="OPEN",
        variety="regular",
        exchange="NSE",
        tradingsymbol="INFY",
        transaction_type="SELL",
        order_type="LIMIT",
        product="CNC",
        validity="DAY",
        quantity=10,
        price="1500",
        source="book",
    )
    path = f"/api/v1/trading-accounts/{account.public_id}/broker-orders"
    broker.answer("PUT /orders/regular/777", Answer({"order_id": "777"}))
    broker.answer("DELETE /orders/regular/777", Answer({"order_id": "777"}))
    assert trader.send("patch", f"{path}/777", {"price": "1490.00"}).status_code == 202
    assert trader.send("delete", f"{path}/777").status_code == 202
    assert trader.send("delete", f"{path}/778").status_code == 404
    drain(account)
    assert set(OrderTask.objects.values_list("status", flat=True)) == {"completed"}


def test_f94_a_path_in_place_of_an_order_id_reaches_no_other_route(trader: Trader, broker: ScriptedBroker) -> None:
    path = f"/api/v1/trading-accounts/{trader.account.public_id}/broker-orders"
    for order_id in ("..%2f..%2fsession%2ftoken", "%2e%2e", "7%3fx=1", "7%23", "7%00", "9" * 10_000, "7%2f8"):
        response = trader.send("delete", f"{path}/{order_id}")
        assert response.status_code in {400, 404}, order_id
    assert broker.asked == []


# --- the first generation's paths ---


def test_the_old_action_paths_do_the_same_and_say_what_replaces_them(trader: Trader, broker: ScriptedBroker) -> None:
    placed = trader.send("post", "/orders/place", {"account": str(trader.account.public_id)} | BODY, key="old")
    assert placed.status_code == 202
    assert placed["Deprecation"] == "true"
    assert placed["Link"] == '</api/v1/orders>; rel="successor-version"'
    assert trader.place(key="old").json()["id"] == placed.json()["id"]
    changed = trader.send("post", "/orders/modify", {"order": placed.json()["id"], "price": "121"})
    assert changed.json()["operation"] == "modify"
    cancelled = trader.send("post", "/orders/cancel", {"order": placed.json()["id"]})
    assert cancelled.json()["words"] == "Cancelled"
    assert trader.send("post", "/orders/modify", {"order": placed.json()["id"]}).status_code == 400
    assert posts(broker) == 0


# --- batches ---------------------------------------------------------------------------------------------------------


def test_a_batch_is_taken_on_whole_with_purchases_first(trader: Trader) -> None:
    items = [BODY | {"transaction_type": side, "quantity": 75 * n} for n, side in enumerate(["SELL", "BUY"], 1)]
    body = {"account": str(trader.account.public_id), "items": items}
    response = trader.send("post", "/api/v1/batch/orders", body, key="basket")
    assert response.status_code == 202
    assert [item["params"]["transaction_type"] for item in response.json()["items"]] == ["SELL", "BUY"]
    accepted = OrderTask.objects.order_by("pk")
    assert [task.idempotency_key for task in accepted] == ["basket:1", "basket:0"]
    again = trader.send("post", "/api/v1/batch/orders", body, key="basket")
    assert (again.status_code, OrderTask.objects.count()) == (200, 2)
    assert [item["id"] for item in again.json()["items"]] == [item["id"] for item in response.json()["items"]]


@pytest.mark.parametrize("other", [[BODY], [BODY, BODY | {"quantity": 150}, BODY | {"quantity": 225}]])
def test_a_batchs_key_with_an_item_more_or_less_is_another_command(trader: Trader, other: list[Any]) -> None:
    account = str(trader.account.public_id)
    items = [BODY, BODY | {"quantity": 150}]
    trader.send("post", "/api/v1/batch/orders", {"account": account, "items": items}, key="basket")
    response = trader.send("post", "/api/v1/batch/orders", {"account": account, "items": other}, key="basket")
    assert (response.status_code, error_of(response)["code"]) == (422, "idempotency_key_reused")
    assert OrderTask.objects.count() == 2


def test_one_bad_item_refuses_the_whole_batch_and_is_named(trader: Trader) -> None:
    items = [BODY, BODY | {"quantity": 80}]
    response = trader.send("post", "/api/v1/batch/orders", {"account": str(trader.account.public_id), "items": items})
    assert (response.status_code, error_of(response)["details"]["item"]) == (422, 1)
    assert not OrderTask.objects.exists()


def test_a_batch_says_how_long_its_budget_takes(trader: Trader) -> None:
    items = [BODY | {"quantity": 75 * n, "allow_duplicate": True} for n in range(1, 14)]
    response = trader.send("post", "/api/v1/batch/orders", {"account": str(trader.account.public_id), "items": items})
    assert response.json()["needs_seconds"] == pytest.approx(1.1)  # 7 a window of 1.1 s: two windows, one wait


def test_several_orders_are_cancelled_at_once(trader: Trader, account: TradingAccount) -> None:
    ids = [trader.place(quantity=75 * n).json()["id"] for n in (1, 2)]
    body = {"account": str(account.public_id), "ids": ids}
    response = trader.send("post", "/api/v1/batch/cancel", body)
    assert [item["words"] for item in response.json()["items"]] == ["Cancelled", "Cancelled"]


# --- written down, or not sent ---------------------------------------------------------------------------------------


def test_an_order_has_its_rows_in_the_audit(trader: Trader, valkey: object) -> None:
    trader.place(key="k")
    drain(trader.account)
    kinds = AuditEvent.objects.filter(kind__startswith="order.").order_by("at").values_list("kind", flat=True)
    assert list(kinds) == ["order.accepted", "order.sent"]
    accepted = AuditEvent.objects.get(kind="order.accepted")
    assert accepted.actor.startswith("apikey:")
    assert accepted.details["params"]["tradingsymbol"] == "NIFTY26DEC26000CE"


def test_f91_an_order_whose_mark_cannot_be_written_into_the_audit_is_not_sent(
    trader: Trader, broker: ScriptedBroker, valkey: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    trader.place()
    real = audit.record

    def full_disk(kind: audit.Kind, **details: Any) -> Any:
        if kind is audit.Kind.ORDER_SENT:
            raise DatabaseError("could not extend file")
        return real(kind, **details)

    monkeypatch.setattr(audit, "record", full_disk)
    drain(trader.account)
    task = OrderTask.objects.get()
    assert (task.status, task.error_code, task.send_started_at) == ("retrying", "not_written_down", None)
    assert posts(broker) == 0
    monkeypatch.setattr(audit, "record", real)
    OrderTask.objects.update(run_after=task.created_at)
    assert drain(trader.account) == 0  # what could not be written down has stopped new orders: it waits for a person
    halts.set_state(halts.Scope(trader.account), TradingState.State.ACTIVE, actor="user:1", reason="disk is larger now")
    drain(trader.account)
    assert (OrderTask.objects.get().status, posts(broker)) == ("completed", 1)


def test_f91_an_order_that_the_audit_does_not_take_is_not_taken_on(
    trader: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: Any, **__: Any) -> Any:
        raise DatabaseError("could not extend file")

    monkeypatch.setattr(audit, "record", full_disk)
    trader.client.raise_request_exception = False
    assert trader.place().status_code >= 500
    assert not OrderTask.objects.exists()


# --- what a person settles -------------------------------------------------------------------------------------------


def dead_letter(trader: Trader) -> str:
    placed: str = trader.place().json()["id"]
    for _ in range(5):
        claim = ledger.claim(trader.account, "w")
        assert claim is not None
        ledger.retry(claim, "not_sent", "refused", after_seconds=-1, costs_an_attempt=True)
    sweep()
    assert OrderTask.objects.get().status == "dead_letter"
    return placed


def test_a_dead_letter_is_sent_again_by_a_person_after_a_look_into_the_book(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    response = trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "the line is back"})
    assert (response.status_code, response.json()["status"]) == (200, "retrying")
    assert any(asked.path == "/orders" for asked in broker.asked)
    drain(trader.account)
    assert OrderTask.objects.get().status == "completed"
    assert AuditEvent.objects.get(kind="order.resolved").details["reason"] == "the line is back"


def test_of_two_who_send_a_dead_letter_again_at_once_the_second_is_told(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    requeue = f"/api/v1/orders/{placed}/requeue"
    first = []
    with right_after('"orders_orderbook"', lambda: first.append(trader.send("post", requeue, {"reason": "mine"}))):
        second = trader.send("post", requeue, {"reason": "mine, too"})
    assert [answer.status_code for answer in (*first, second)] == [200, 409]
    assert error_of(second)["code"] == "not_resolvable"
    assert AuditEvent.objects.get(kind="order.resolved").details["reason"] == "mine"


def test_a_dead_letter_that_the_book_shows_is_completed_and_not_sent(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    tag = OrderTask.objects.get().tag
    broker.answer("GET /orders", Answer([BODY | {"order_id": "900", "status": "OPEN", "tag": tag, "price": 120.5}]))
    response = trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "try again"})
    assert (response.status_code, error_of(response)["code"]) == (409, "not_resolvable")
    assert OrderTask.objects.get().broker_order_id == "900"
    assert posts(broker) == 0


def test_a_person_says_how_a_dead_letter_ended(trader: Trader, valkey: object) -> None:
    placed = dead_letter(trader)
    unknown = {"outcome": "completed", "order_id": "901", "reason": "seen in Kite"}
    assert trader.send("post", f"/api/v1/orders/{placed}/resolve", unknown).status_code == 409
    response = trader.send("post", f"/api/v1/orders/{placed}/resolve", {"outcome": "failed", "reason": "not there"})
    assert (response.json()["status"], response.json()["error_message"]) == ("failed", "not there")
    assert trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "again"}).status_code == 409


def test_a_preview_tells_every_check_and_stores_nothing(trader: Trader, valkey: object, broker: ScriptedBroker) -> None:
    broker.answer("POST /margins/orders", Answer([{"total": 9037.5, "charges": {"total": 12.34}}]))
    broker.answer("GET /user/margins", Answer({"equity": {"net": 50000.0}}))
    body = {"account": str(trader.account.public_id)} | BODY | {"quantity": 80}
    told = trader.client.post("/api/v1/orders/preview", data=body, content_type="application/json").json()
    assert told["would_be_accepted"] is False
    assert [check["code"] for check in told["checks"] if check["passed"] is False] == ["lot_size"]
    assert (told["margin_required"], told["margin_available"], told["charges"]) == ("9037.50", "50000.00", "12.34")
    assert told["notional"] == "9640.00"
    assert not OrderTask.objects.exists()
