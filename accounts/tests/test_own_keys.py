"""Keys that people make for themselves: within their own rights, and two of a label at most."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key, replace_api_key, revoke_api_key
from accounts.exceptions import NotAuthenticated, NotFound, Refused
from accounts.models import ApiKey, Grant, KiteApp, TradingAccount
from accounts.own_keys import (
    BeyondOwnRights,
    LabelInUse,
    accounts_for_keys,
    make_own_key,
    others_keys,
    own_key,
    replace_own_key,
    revocable_key,
)

DAY = timedelta(days=1)


def make(owner: User, *accounts: TradingAccount, label: str = "Backtest", scope: Action = Action.READ) -> ApiKey:
    return make_own_key(owner=owner, label=label, scopes=[scope], accounts=accounts, valid_for=90 * DAY)[0]


def test_a_key_may_not_do_what_its_owner_may_not(
    asha: User, account: TradingAccount, other_account: TradingAccount, administrator: User
) -> None:
    with pytest.raises(BeyondOwnRights, match="read on CD5678"):
        make(asha, account, other_account)
    with pytest.raises(BeyondOwnRights, match="trade on AB1234"):  # an administrator needs a grant for that
        make(administrator, account, scope=Action.TRADE)
    assert not ApiKey.objects.exists()


def test_any_right_on_an_account_lets_a_key_reach_it(
    asha: User, ravi: User, account: TradingAccount, other_account: TradingAccount
) -> None:
    Grant.objects.create(user=ravi, account=account, action=Action.STREAM)

    assert set(accounts_for_keys(ravi)) == {account, other_account}
    assert make(ravi, account, scope=Action.STREAM).accounts.get() == account


def test_one_label_is_one_program(asha: User, ravi: User, account: TradingAccount) -> None:
    first = make(asha, account)
    with pytest.raises(LabelInUse):
        make(asha, account)
    revoke_api_key(first)

    assert make(asha, account).label == first.label


def test_a_replaced_key_works_one_more_day_beside_the_new_one(asha: User, account: TradingAccount) -> None:
    old, old_text = create_api_key(
        owner=asha, label="Bot", scopes=[Action.READ], accounts=[account], networks=["10.0.0.0/8"], valid_for=30 * DAY
    )
    Grant.objects.create(api_key=old, account=account, action=Action.READ)
    new, new_text = replace_own_key(old)

    for text in (old_text, new_text):
        assert check_api_key(text, address="10.1.2.3").label == "Bot"
    old.refresh_from_db()
    assert timedelta(hours=23) < old.expires_at - timezone.now() <= DAY
    assert (new.scopes, new.networks, new.accounts.get()) == (old.scopes, old.networks, account)
    assert new.grants.get().action == Action.READ
    assert new.expires_at - new.created_at == 30 * DAY


def test_two_of_a_label_are_the_most(asha: User, account: TradingAccount) -> None:
    first = make(asha, account)
    second, _ = replace_own_key(first)
    for key in (first, second):
        with pytest.raises(Refused, match="Two keys called Backtest"):
            replace_own_key(key)
    revoke_api_key(first)

    assert replace_own_key(second)


def test_replacing_does_not_lengthen_the_old_key(asha: User, account: TradingAccount) -> None:
    old = make(asha, account)
    ends_at = timezone.now() + timedelta(hours=2)
    ApiKey.objects.update(expires_at=ends_at)
    old.refresh_from_db()
    replace_api_key(old)
    old.refresh_from_db()

    assert old.expires_at == ends_at


@pytest.mark.parametrize("ended", [{"revoked_at": timezone.now()}, {"expires_at": timezone.now()}])
def test_what_is_over_is_not_continued(asha: User, account: TradingAccount, ended: dict[str, object]) -> None:
    key = make(asha, account)
    ApiKey.objects.update(**ended)
    with pytest.raises(Refused, match="revoked or has expired"):
        replace_own_key(key)


def test_a_revoked_key_is_refused_at_once_and_for_good(asha: User, account: TradingAccount) -> None:
    key, text = create_api_key(owner=asha, label="Bot", scopes=[Action.READ], accounts=[account])

    assert revoke_api_key(key) is True
    assert revoke_api_key(key) is False
    with pytest.raises(NotAuthenticated):
        check_api_key(text, address="127.0.0.1")


def test_others_keys_are_for_administrators_and_theirs_only_to_end(
    asha: User, ravi: User, administrator: User, account: TradingAccount
) -> None:
    key = make(asha, account)

    assert list(others_keys(ravi)) == []
    assert list(others_keys(administrator)) == [key]
    assert revocable_key(administrator, key.key_id) == revocable_key(asha, key.key_id) == key
    with pytest.raises(NotFound):
        revocable_key(ravi, key.key_id)
    with pytest.raises(NotFound):
        own_key(administrator, key.key_id)


@pytest.mark.django_db(transaction=True)
def test_of_two_forms_sent_at_once_one_makes_the_key() -> None:
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=asha)
    ready = Barrier(2)

    def send(_: int) -> bool:
        try:
            ready.wait()
            make(asha, account)
        except LabelInUse:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(2) as threads:
        assert sorted(threads.map(send, range(2))) == [False, True]
