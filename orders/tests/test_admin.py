"""Orders in the admin: read with their timeline, settled by buttons that ask first."""

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from accounts.models import Grant, TradingAccount
from accounts.tests.fakes import ScriptedBroker
from orders import ledger
from orders.models import OrderTask
from orders.sweep import sweep
from orders.tests.conftest import Submit, posts

pytestmark = pytest.mark.django_db


@pytest.fixture
def browser(client: Client, account: TradingAccount) -> Client:
    root = User.objects.create_superuser("root")
    Grant.objects.create(user=root, account=account, action="trade")
    client.force_login(root)
    return client


@pytest.fixture
def dead(submit: Submit, account: TradingAccount) -> OrderTask:
    task = submit()
    for _ in range(5):
        claim = ledger.claim(account, "w")
        assert claim is not None
        ledger.retry(claim, "not_sent", "refused", after_seconds=-1, costs_an_attempt=True)
    sweep()
    return task


def said(client: Client, press: str, task: OrderTask, **form: str) -> str:
    path = reverse(f"admin:orders_ordertask_{press}", args=[task.pk])
    answer = client.post(path, {"_form_submitted": "True"} | form)
    assert answer.status_code in (200, 302), answer.content
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_an_order_is_shown_with_its_timeline_and_cannot_be_edited(browser: Client, submit: Submit) -> None:
    task = submit()
    page = browser.get(reverse("admin:orders_ordertask_change", args=[task.pk])).content.decode()
    assert "NIFTY26DEC26000CE" in page
    assert "accepted" in page
    assert 'name="status"' not in page
    assert browser.get(reverse("admin:orders_ordertask_changelist")).status_code == 200
    assert browser.get(reverse("admin:orders_brokerorder_changelist")).status_code == 200


def test_a_button_asks_for_a_reason_and_sends_again(browser: Client, dead: OrderTask, valkey: object) -> None:
    path = reverse("admin:orders_ordertask_press_requeue", args=[dead.pk])
    assert b'name="reason"' in browser.get(path).content
    assert said(browser, "press_requeue", dead, reason="the line is back") == "The order is sent again."
    dead.refresh_from_db()
    assert dead.status == "retrying"


def test_a_dead_letter_is_settled_as_not_having_happened(browser: Client, dead: OrderTask) -> None:
    assert "settled" in said(browser, "press_failed", dead, reason="seen in Kite")
    dead.refresh_from_db()
    assert (dead.status, dead.error_code) == ("failed", "resolved_as_failed")
    assert "does not wait for a person" in said(browser, "press_failed", dead, reason="again")


def test_an_order_that_waits_is_cancelled(browser: Client, submit: Submit, broker: ScriptedBroker) -> None:
    task = submit()
    assert "is cancelled" in said(browser, "press_cancel", task)
    task.refresh_from_db()
    assert task.error_code == "cancelled_before_send"
    assert posts(broker) == 0


def test_staff_who_may_not_trade_the_account_press_in_vain(client: Client, submit: Submit) -> None:
    task = submit()
    client.force_login(User.objects.create_superuser("other"))
    path = reverse("admin:orders_ordertask_press_cancel", args=[task.pk])
    assert client.post(path, {"_form_submitted": "True"}).status_code == 403
    task.refresh_from_db()
    assert task.status == "pending"
