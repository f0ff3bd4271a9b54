"""The orders page as the server makes it: every state in words, and what a person may do about an order."""

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.models import Grant, TradingAccount
from dashboard.tests import order_day
from orders.models import BrokerOrder, OrderTask
from orders.states import Operation, Status


@pytest.fixture
def ravis(foreign: TradingAccount) -> TradingAccount:
    """An account of another owner that trades."""
    foreign.is_trading = True
    foreign.save(update_fields=["is_trading"])
    return foreign


@pytest.fixture
def day(account: TradingAccount, ravis: TradingAccount) -> dict[str, OrderTask]:
    order_day.list_options()
    return order_day.a_day(account, ravis)


@pytest.fixture
def browser(account: TradingAccount, ravis: TradingAccount, client: Client) -> Client:
    """Asha's, who may see and trade both accounts."""
    for action in (Action.READ, Action.TRADE):
        Grant.objects.create(user=account.owner, account=ravis, action=action)
    client.force_login(account.owner)
    return client


def row_of(html: str, task: OrderTask) -> str:
    """The text of the task's row, without its tags."""
    found = re.search(rf'<tr[^>]*data-order="{task.public_id}">(.*?)</tr>', html, re.DOTALL)
    assert found is not None, "no such row"
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("open", "BUY 130 NIFTY 29 Dec 24,700 CE 135.20 0 of 130 – Open by hand"),
        ("unknown", "BUY 130 NIFTY 29 Dec 24,650 CE 160.10 – – Checking iron-fly-2 none yet"),
        ("waiting", "SELL 130 NIFTY 29 Dec 24,600 PE 135.20 – – Waiting iron-fly-2"),
        ("part", "SELL 130 NIFTY 29 Dec 24,900 CE 61.60 65 of 130 61.60 Part filled strangle"),
        ("filled", "BUY 130 NIFTY 29 Dec 24,700 CE 135.20 130 41.00 Filled strangle"),
        ("trigger", "trigger 75.00 0 of 130 – Trigger waiting"),
        ("refused", "BUY 130 NIFTY 29 Dec 24,700 CE market – – Refused here by hand not sent"),
        ("rejected", "24,800 CE 135.20 0 of 130 – Rejected"),
        ("cancelled", "0 of 130 – Cancelled"),
        ("late", "130 135.10 Filled Late arrival"),
        ("undecided", "Needs you"),
    ],
)
def test_every_state_is_said_in_words(browser: Client, day: dict[str, OrderTask], name: str, words: str) -> None:
    assert words in row_of(browser.get("/orders/").content.decode(), day[name])


def test_what_needs_a_person_stands_on_top(browser: Client, day: dict[str, OrderTask]) -> None:
    html = browser.get("/orders/").content.decode()
    above = html.partition("<table")[0]
    assert "The broker did not answer for 1 order. It is not sent again while we look." in above
    assert "Buy 130 NIFTY 29 Dec 24,650 CE for Asha." in above
    assert "An order needs your decision." in above
    assert "An order that was taken for lost is at the broker after all." in above
    assert '<span class="count" title="2 orders need you">2</span>' in html


def test_a_late_arrival_leaves_the_top_when_it_was_seen_and_keeps_its_mark(
    browser: Client, day: dict[str, OrderTask]
) -> None:
    answer = browser.post(f"/orders/{day['late'].public_id}/seen/")
    assert answer.status_code == 302
    html = browser.get("/orders/").content.decode()
    assert "taken for lost" not in html
    assert "Late arrival" in row_of(html, day["late"])


def test_orders_placed_elsewhere_are_shown_as_such_and_can_be_cancelled(
    browser: Client, day: dict[str, OrderTask], ravis: TradingAccount
) -> None:
    html = browser.get("/orders/").content.decode()
    assert "placed elsewhere" in html
    order = BrokerOrder.objects.get(account=ravis, task=None)
    path = f"/accounts/{ravis.public_id}/orders/{order.order_id}/cancel/"
    assert path in html
    browser.post(path, {"key": "a1b2c3d4e5f6"})
    cancel = OrderTask.objects.get(operation=Operation.CANCEL)
    assert (cancel.account, cancel.params["order_id"]) == (ravis, order.order_id)


@pytest.mark.parametrize(
    ("show", "count"), [("all", 12), ("work", 5), ("need", 2), ("done", 3), ("bad", 2), ("nonsense", 12)]
)
def test_filters_show_what_they_count(browser: Client, day: dict[str, OrderTask], show: str, count: int) -> None:
    html = browser.get("/orders/", {"show": show}).content.decode()
    assert len(re.findall(r"<tr[^>]*data-order=", html)) == count
    if show in ("work", "need", "done", "bad"):
        assert re.search(rf'id="show-{show}"[^>]*aria-current="true"[^>]*>[^<]*<span class="mut n">{count}<', html)


def test_accounts_and_strategies_filter_too_and_nonsense_shows_nothing(
    browser: Client, day: dict[str, OrderTask], ravis: TradingAccount
) -> None:
    def shown(**query: str) -> int:
        return len(re.findall(r"<tr[^>]*data-order=", browser.get("/orders/", query).content.decode()))

    assert shown(account=str(ravis.public_id)) == 4
    assert shown(strategy="iron-fly-2") == 2
    assert shown(account="nonsense") == 0
    assert shown(strategy="\0'; --") == 0
    assert shown(page="9999") == 0
    assert shown(page="x") == 12


def test_htmx_is_given_the_list_alone(browser: Client, day: dict[str, OrderTask]) -> None:
    html = browser.get("/orders/", headers={"HX-Request": "true"}).content.decode()
    assert html.lstrip().startswith('<section class="blot" id="blotter"')
    assert f"selected={day['open'].public_id}" in browser.get(f"/orders/{day['open'].public_id}/").content.decode()
    order = browser.get(f"/orders/{day['open'].public_id}/", headers={"HX-Request": "true"}).content.decode()
    assert order.lstrip().startswith('<div class="order" id="order"')


def test_others_orders_are_nobodys_business(client: Client, account: TradingAccount, day: dict[str, OrderTask]) -> None:
    client.force_login(account.owner)
    html = client.get("/orders/").content.decode()
    assert "Ravi" not in html
    assert client.get(f"/orders/{day['part'].public_id}/").status_code == 404
    assert client.post(f"/orders/{day['part'].public_id}/cancel/").status_code == 404


def test_who_may_only_read_sees_no_buttons_and_cancels_nothing(
    client: Client, account: TradingAccount, day: dict[str, OrderTask]
) -> None:
    reader = User.objects.create_user("reader")
    Grant.objects.create(user=reader, account=account, action=Action.READ)
    client.force_login(reader)
    html = client.get(f"/orders/{day['open'].public_id}/").content.decode()
    assert "Cancel order" not in html
    assert "New order" not in html
    assert client.post(f"/orders/{day['open'].public_id}/cancel/").status_code == 403


def test_the_second_press_of_a_cancel_is_the_first_one(browser: Client, day: dict[str, OrderTask]) -> None:
    html = browser.get("/orders/").content.decode()
    path = f"/orders/{day['open'].public_id}/cancel/"
    form = html[html.index(f'action="{path}"') :]
    key = re.search(r'name="key" value="(\w+)"', form)
    assert key is not None
    for _ in range(2):
        assert browser.post(path, {"key": key[1], "next": "/orders/"}).status_code == 302
    assert OrderTask.objects.filter(operation=Operation.CANCEL).count() == 1
    shown = browser.get("/orders/").content.decode()
    assert "Being cancelled" in row_of(shown, day["open"])
    assert f'action="{path}"' not in shown


def test_what_has_not_gone_out_is_cancelled_at_once(browser: Client, day: dict[str, OrderTask]) -> None:
    answer = browser.post(f"/orders/{day['waiting'].public_id}/cancel/", {"key": "a1b2c3d4e5"}, follow=True)
    html = answer.content.decode()
    assert "It had not gone out." in html
    assert "Cancelled" in row_of(html, day["waiting"])


def test_an_order_has_its_timeline_beside_the_list(browser: Client, day: dict[str, OrderTask]) -> None:
    html = browser.get(f"/orders/{day['part'].public_id}/").content.decode()
    drawer = html[html.index('id="tlbox"') :]
    for words in ("Accepted", "Risk passed", "Written down before sending", "Broker answered", "Filled", "Then"):
        assert words in drawer
    assert day["part"].tag in drawer
    assert "Cancel 65 left" in drawer
    assert "₹4771.00 worse" in drawer, "sold at 61.60 what was 135.00 at the decision"
    assert f'aria-current="true" data-order="{day["part"].public_id}"' in html


def test_an_unknown_order_says_that_it_is_not_sent_again_and_offers_no_button_to_do_it(
    browser: Client, day: dict[str, OrderTask]
) -> None:
    html = browser.get(f"/orders/{day['unknown'].public_id}/").content.decode()
    drawer = html[html.index('id="tlbox"') :]
    assert "We look it up by its tag and do not send it again." in drawer
    assert "end again" not in drawer.replace("not send it again", "").replace("not sent again", "")


def test_a_decision_needs_its_reason_and_a_book_that_can_be_read(
    browser: Client, day: dict[str, OrderTask], account: TradingAccount
) -> None:
    path = f"/orders/{day['undecided'].public_id}/decide/"
    for form in ({}, {"decision": "failed"}, {"decision": "completed", "reason": "seen there", "order_id": "x"}):
        assert "Nothing was decided" in browser.post(path, form, follow=True).content.decode()
    day["undecided"].refresh_from_db()
    assert day["undecided"].status == Status.DEAD_LETTER
    page = browser.get(f"/orders/{day['undecided'].public_id}/").content.decode()
    assert "Write the decision" in page
    elsewhere = browser.get(f"/orders/{day['open'].public_id}/").content.decode()
    assert "Write the decision" not in elsewhere


def test_a_page_of_many_orders_asks_no_query_for_each(
    browser: Client, day: dict[str, OrderTask], account: TradingAccount, django_assert_max_num_queries: object
) -> None:
    for number in range(30):
        order_day.sent(account, f"more-{number}", f"99000000{number}", status="COMPLETE", filled=130, average="1")
    browser.get("/orders/")
    with django_assert_max_num_queries(36):  # type: ignore[operator]
        browser.get("/orders/")


def test_no_orders_are_said(browser: Client) -> None:
    assert "No orders today." in browser.get("/orders/").content.decode()
