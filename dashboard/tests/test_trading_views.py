"""What every page says of trading, and who may stop it and let it go again by hand."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.models import Grant, TradingAccount
from orders.halts import Scope, set_state
from orders.models import TradingState

State = TradingState.State
HALT, RESUME = "/trading/halt/", "/trading/resume/"
FETCHED = {"X-Requested-With": "fetch"}


@pytest.fixture
def browser(account: TradingAccount, client: Client) -> Client:
    """Asha's, who owns one account."""
    client.force_login(account.owner)
    return client


def state_of(account: TradingAccount | None) -> str:
    row = TradingState.objects.filter(account=account, strategy="").first()
    return row.state if row else "active"


def test_a_halt_is_in_force_when_it_is_answered_and_every_page_says_so(
    browser: Client, account: TradingAccount
) -> None:
    answer = browser.post(HALT, {"scope": str(account.public_id)}, headers=FETCHED)
    assert answer.status_code == 200
    assert state_of(account) == State.HALTED
    page = browser.get("/accounts/").content.decode()
    for html in (answer.content.decode(), page):
        assert "<b>Halted.</b> New orders are refused on Asha, AB1234 since" in html
        assert "by asha" in html
    assert 'data-said="warn"' in answer.content.decode()
    assert "data-said" not in page


def test_a_plain_form_halts_too_and_comes_back_with_a_message(browser: Client, account: TradingAccount) -> None:
    answer = browser.post(HALT, {"scope": "all", "next": "/accounts/"}, follow=True)
    assert answer.redirect_chain == [("/accounts/", 302)]
    assert "Trading is halted on Asha, AB1234" in answer.content.decode()
    assert state_of(account) == State.HALTED
    assert state_of(None) == State.ACTIVE, "everything is for the service's administrators"


def test_a_form_leads_to_no_other_host(browser: Client, account: TradingAccount) -> None:
    answer = browser.post(HALT, {"scope": "all", "next": "https://example.com/"})
    assert answer["Location"] == "/trading/"


def test_all_accounts_of_an_administrator_are_everything(client: Client, account: TradingAccount) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert client.post(HALT, {"scope": "all"}, headers=FETCHED).status_code == 200
    assert (state_of(None), state_of(account)) == (State.HALTED, State.ACTIVE)


def test_what_one_may_not_trade_one_may_not_stop(
    client: Client, account: TradingAccount, foreign: TradingAccount
) -> None:
    reader = User.objects.create_user("reader")
    for action in (Action.READ, Action.STREAM):
        Grant.objects.create(user=reader, account=account, action=action)
    client.force_login(reader)
    assert client.post(HALT, {"scope": str(account.public_id)}).status_code == 403
    client.force_login(account.owner)
    assert client.post(HALT, {"scope": str(foreign.public_id)}).status_code == 404
    assert client.post(HALT, {"scope": "nonsense"}).status_code == 404
    assert not TradingState.objects.exclude(state=State.ACTIVE).exists()


def test_resuming_takes_the_word_and_a_reason(browser: Client, account: TradingAccount) -> None:
    set_state(Scope(account), State.HALTED, actor="user:1", reason="odd")
    scope = str(account.public_id)
    for form in (
        {},
        {"word": "RESUME"},
        {"word": "resume", "reason": "it was the feed"},
        {"reason": "it was the feed"},
    ):
        assert browser.post(RESUME, {"scope": scope} | form, headers=FETCHED).status_code == 400
    assert state_of(account) == State.HALTED
    form = {"scope": scope, "word": "RESUME", "reason": "it was the feed"}
    assert browser.post(RESUME, form, headers=FETCHED).status_code == 200
    assert state_of(account) == State.ACTIVE


def test_a_halt_of_everything_is_resumed_by_administrators_alone(browser: Client, account: TradingAccount) -> None:
    set_state(Scope(), State.HALTED, actor="killswitch", reason="maintenance")
    page = browser.get("/accounts/").content.decode()
    assert "New orders are refused on all accounts" in page
    assert "(maintenance)" in page
    assert "Resume…" not in page
    form = {"scope": "all", "word": "RESUME", "reason": "done with it"}
    browser.post(RESUME, form)
    assert state_of(None) == State.HALTED


def test_exits_only_is_said_and_a_strategy_is_resumed_by_itself(browser: Client, account: TradingAccount) -> None:
    set_state(Scope(account, "straddle"), State.REDUCING, actor="user:999999", reason="")
    page = browser.get("/accounts/").content.decode()
    assert "<b>Exits only.</b> New entries wait of strategy straddle on Asha, AB1234" in page
    form = {"scope": f"{account.public_id}:straddle", "word": "RESUME", "reason": "checked"}
    assert browser.post(RESUME, form, headers=FETCHED).status_code == 200
    assert TradingState.objects.get(account=account, strategy="straddle").state == State.ACTIVE


def test_others_stops_are_nobodys_business(browser: Client, foreign: TradingAccount) -> None:
    set_state(Scope(foreign), State.HALTED, actor="user:1", reason="theirs")
    assert "Halted." not in browser.get("/trading/notices/").content.decode()


def test_a_halt_needs_the_token_of_the_page(account: TradingAccount) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(account.owner)
    assert strict.post(HALT, {"scope": "all"}).status_code == 403
    assert state_of(account) == State.ACTIVE


def test_the_consequences_are_counted_for_the_scope(browser: Client, account: TradingAccount) -> None:
    html = browser.get("/trading/consequences/", {"scope": str(account.public_id)}).content.decode()
    assert "No waiting orders are dropped." in html
    assert "No orders stay open at the broker." in html
