"""Orders over REST: what a program is told, and what is written down for it."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts.actions import Action
from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import halts
from orders.execute import drain
from orders.models import OrderTask, TradingState
from orders.tests.conftest import ORDER_ID, posts
from orders.tests.trading import BODY, TODAY, Trader, audit_without_room, error_of, failed_checks, quote

pytestmark = pytest.mark.django_db


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
    assert seen == []
    assert trader.place(query="?wait=11").status_code == 400


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
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    trader.place()
    with audit_without_room("order.sent"):
        drain(trader.account)
    task = OrderTask.objects.get()
    assert (task.status, task.error_code, task.send_started_at) == ("retrying", "not_written_down", None)
    assert posts(broker) == 0
    OrderTask.objects.update(run_after=task.created_at)
    assert drain(trader.account) == 0  # what could not be written down has stopped new orders: it waits for a person
    halts.set_state(halts.Scope(trader.account), TradingState.State.ACTIVE, actor="user:1", reason="disk is larger now")
    drain(trader.account)
    assert (OrderTask.objects.get().status, posts(broker)) == ("completed", 1)


def test_f91_an_order_that_the_audit_does_not_take_is_not_taken_on(trader: Trader) -> None:
    trader.client.raise_request_exception = False
    with audit_without_room("order.accepted"):
        assert trader.place().status_code >= 500
    assert not OrderTask.objects.exists()
