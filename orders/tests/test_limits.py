"""Limits: whose they are, who may change them, and that none goes by being forgotten."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.actions import Action
from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from orders.limits import DEFAULTS, FIGURES, Limits, OrderLimits, all_limits_of, limits_for, set_limits
from orders.tests.trading import Trader

NONE: dict[str, Any] = dict.fromkeys(FIGURES)


def test_an_account_without_any_row_has_the_limits_that_are_built_in(account: TradingAccount) -> None:
    (only,) = limits_for(account)
    assert (only.scope, only.limits) == ("every account", DEFAULTS)
    assert DEFAULTS.max_notional is not None
    assert DEFAULTS.price_band_percent is not None


def test_the_row_of_everything_takes_the_place_of_the_built_in_limits(account: TradingAccount) -> None:
    set_limits(None, "", NONE, actor="user:1")
    (only,) = limits_for(account)
    assert (only.scope, only.limits) == ("every account", Limits())


def test_an_order_has_the_limits_of_everything_its_account_and_its_strategy_the_widest_first(
    account: TradingAccount,
) -> None:
    other = TradingAccount.objects.create(kite_user_id="CD5678", label="R", app=account.app, owner=account.owner)
    for whose, strategy, quantity in ((None, "", 5000), (account, "", 500), (account, "straddle", 50), (other, "", 5)):
        set_limits(whose, strategy, NONE | {"max_quantity": quantity}, actor="user:1")
    assert [one.limits.max_quantity for one in limits_for(account, "straddle")] == [5000, 500, 50]
    assert [one.limits.max_quantity for one in limits_for(account, "other")] == [5000, 500]
    assert [one.strategy for one in all_limits_of(account)] == ["", "", "straddle"]


def test_a_change_is_in_the_audit_with_what_it_was_before(account: TradingAccount) -> None:
    set_limits(account, "", NONE | {"max_notional": Decimal("500000.00")}, actor="user:1")
    set_limits(account, "", NONE | {"max_notional": Decimal("900000.00")}, actor="user:2")
    latest = AuditEvent.objects.filter(kind="order.limits").latest("at")
    assert latest.account == "AB1234"
    assert latest.details["changed"] == {"max_notional": ["500000.00", "900000.00"]}
    assert latest.details["by"] == "user:2"


def test_a_figure_that_is_left_out_is_an_error_and_lifts_nothing(account: TradingAccount) -> None:
    set_limits(account, "", NONE | {"max_quantity": 75}, actor="user:1")
    with pytest.raises(ValueError, match="not exactly the figures"):
        set_limits(account, "", {"max_notional": None}, actor="user:1")
    assert OrderLimits.objects.get().max_quantity == 75


@pytest.mark.parametrize(
    "wrong",
    [
        *({name: 0} for name in FIGURES),
        {"max_notional": -1},
        {"price_band_percent": 101},
        {"strategy": "straddle", "max_day_loss": 1},
        {"strategy": "straddle", "max_net_delta": 1},
        {"account": None, "strategy": "straddle"},
    ],
    ids=str,
)
def test_the_database_refuses_limits_that_mean_nothing(account: TradingAccount, wrong: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderLimits.objects.create(**{"account": account} | wrong)


def test_a_scope_has_one_row(account: TradingAccount) -> None:
    OrderLimits.objects.create()
    with pytest.raises(IntegrityError), transaction.atomic():
        OrderLimits.objects.create()


def test_who_administers_the_account_sets_its_limits_over_rest(account: TradingAccount) -> None:
    program = Trader(account, Action.READ, Action.ADMIN)
    path = f"/api/v1/trading-accounts/{account.public_id}/order-limits"
    figures = NONE | {"max_notional": "250000.00", "max_orders_per_minute": 30}
    told = program.send("put", path, figures).json()
    assert told == program.send("get", path).json()
    assert [one["scope"] for one in told["limits"]] == ["every account", "AB1234"]
    assert told["limits"][0]["max_notional"] == str(DEFAULTS.max_notional)
    assert told["limits"][1] == figures | {"scope": "AB1234", "strategy": ""}
    assert OrderLimits.objects.get().set_by.startswith("apikey:")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_quantity": 0}, "max_quantity"),
        ({"max_quantity": "75"}, "max_quantity"),
        ({"max_notional": "NaN"}, "max_notional"),
        ({"max_notional": "1e400"}, "max_notional"),
        ({"price_band_percent": "100.01"}, "price_band_percent"),
        ({"strategy": "straddle", "max_day_loss": "1000"}, "max_day_loss"),
        ({"strategy": "no such/label"}, "strategy"),
        ({"max_qty": 75}, "max_qty"),
    ],
    ids=str,
)
def test_limits_that_cannot_be_read_are_refused_by_name(
    account: TradingAccount, changes: dict[str, Any], field: str
) -> None:
    path = f"/api/v1/trading-accounts/{account.public_id}/order-limits"
    response = Trader(account, Action.ADMIN).send("put", path, NONE | changes)
    assert response.status_code == 400
    assert list(response.json()["error"]["details"]) == [field]
    assert not OrderLimits.objects.exists()


def test_limits_over_rest_need_every_figure(account: TradingAccount) -> None:
    path = f"/api/v1/trading-accounts/{account.public_id}/order-limits"
    response = Trader(account, Action.ADMIN).send("put", path, {"max_quantity": 75})
    assert response.status_code == 400
    assert set(response.json()["error"]["details"]) == set(FIGURES) - {"max_quantity"}


def test_an_administrator_sets_limits_in_the_admin(account: TradingAccount, client: Client) -> None:
    root = User.objects.create_superuser("root")
    client.force_login(root)
    blank = dict.fromkeys(FIGURES, "") | {"account": "", "strategy": ""}
    added = client.post("/admin/orders/orderlimits/add/", blank | {"max_notional": "750000"})
    assert added.status_code == 302, added.context["errors"]
    row = OrderLimits.objects.get()
    assert (row.account, row.max_notional, row.set_by) == (None, Decimal(750000), f"user:{root.pk}")
    changed = client.post(f"/admin/orders/orderlimits/{row.pk}/change/", blank | {"max_notional": "1000000"})
    assert changed.status_code == 302
    assert AuditEvent.objects.filter(kind="order.limits").latest("at").details["changed"] == {
        "max_notional": ["750000.00", "1000000.00"]
    }
    assert client.get("/admin/orders/orderlimits/").status_code == 200
