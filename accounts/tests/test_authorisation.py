"""Who may do what: the whole matrix, and how refusals look."""

import re
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.audit_events import AuditEvent
from accounts.authorisation import account_for, accounts_for, authorise
from accounts.exceptions import Denied, NotAuthenticated, NotFound
from accounts.models import ApiKey, Grant, TradingAccount
from accounts.principals import ApiKeyPrincipal, Principal, UserPrincipal

R, S, T, A, K = Action


def key_of(owner: User, scopes: list[Action], accounts: list[TradingAccount]) -> ApiKey:
    return create_api_key(owner=owner, label="k", scopes=scopes, accounts=accounts)[0]


def outcome(principal: Principal | None, action: Action, account: TradingAccount | None) -> str:
    try:
        authorise(principal, action, account)
    except (NotAuthenticated, Denied, NotFound) as exc:
        return type(exc).__name__
    return "yes"


@pytest.fixture
def principals(
    account: TradingAccount, other_account: TradingAccount, asha: User, ravi: User, administrator: User
) -> dict[str, Principal | None]:
    """Everybody who may ask about Asha's account."""
    Grant.objects.create(user=ravi, account=account, action=R)
    granted_key = key_of(ravi, [R, T], [account])
    Grant.objects.create(api_key=granted_key, account=account, action=T)
    stranger = User.objects.create_user("stranger")
    retired = User.objects.create_user("retired", is_active=False)
    Grant.objects.create(user=retired, account=account, action=R)
    return {
        "nobody": None,
        "owner": UserPrincipal(asha),
        "granted to read": UserPrincipal(ravi),
        "stranger": UserPrincipal(stranger),
        "retired": UserPrincipal(retired),
        "administrator": UserPrincipal(administrator),
        "owner's key to read": ApiKeyPrincipal(key_of(asha, [R], [account])),
        "owner's key without accounts": ApiKeyPrincipal(key_of(asha, [R, S, T, A], [])),
        "owner's key for another account": ApiKeyPrincipal(key_of(asha, [R, S, T, A], [other_account])),
        "foreign key on this account": ApiKeyPrincipal(key_of(stranger, [R, S, T, A], [account])),
        "key with a grant to trade": ApiKeyPrincipal(granted_key),
    }


@pytest.mark.parametrize(
    ("who", "read", "stream", "trade", "admin"),
    [
        ("nobody", "NotAuthenticated", "NotAuthenticated", "NotAuthenticated", "NotAuthenticated"),
        ("owner", "yes", "yes", "yes", "yes"),
        ("granted to read", "yes", "Denied", "Denied", "Denied"),
        ("stranger", "NotFound", "NotFound", "NotFound", "NotFound"),
        ("retired", "NotFound", "NotFound", "NotFound", "NotFound"),
        ("administrator", "yes", "yes", "Denied", "yes"),
        ("owner's key to read", "yes", "Denied", "Denied", "Denied"),
        ("owner's key without accounts", "NotFound", "NotFound", "NotFound", "NotFound"),
        ("owner's key for another account", "NotFound", "NotFound", "NotFound", "NotFound"),
        ("foreign key on this account", "NotFound", "NotFound", "NotFound", "NotFound"),
        ("key with a grant to trade", "yes", "Denied", "yes", "Denied"),
    ],
)
def test_the_matrix_of_principals_and_actions(
    principals: dict[str, Principal | None],
    account: TradingAccount,
    who: str,
    read: str,
    stream: str,
    trade: str,
    admin: str,
) -> None:
    got = {action: outcome(principals[who], action, account) for action in Action}
    # Who may trade may stop, and so may who administers the service.
    halt = admin if who == "administrator" else trade
    assert got == {R: read, S: stream, T: trade, A: admin, K: halt}
    listed = {action: accounts_for(principals[who], action).filter(pk=account.pk).exists() for action in Action}
    assert listed == {action: said == "yes" for action, said in got.items()}, "list and single look-up agree"


@pytest.mark.parametrize(
    ("who", "allowed"),
    [
        ("owner", [R, S, T, A, K]),
        ("granted to read", [R, S, T, A, K]),  # on the account that is Ravi's own
        ("stranger", []),
        ("administrator", [R, S, A, K]),
        ("owner's key to read", [R]),
        ("owner's key without accounts", []),
        ("foreign key on this account", []),
    ],
)
def test_what_belongs_to_no_account_takes_the_right_on_some_account(
    principals: dict[str, Principal | None], who: str, allowed: list[Action]
) -> None:
    assert [action for action in Action if outcome(principals[who], action, None) == "yes"] == allowed


def test_a_key_ends_with_its_owner_even_if_it_holds_a_grant(account: TradingAccount, ravi: User) -> None:
    key = key_of(ravi, [R], [account])
    Grant.objects.create(api_key=key, account=account, action=R)
    ravi.is_active = False
    ravi.save(update_fields=["is_active"])
    assert not accounts_for(ApiKeyPrincipal(ApiKey.objects.get(pk=key.pk)), R).exists()


def test_a_foreign_account_and_a_missing_one_look_alike(account: TradingAccount, ravi: User) -> None:
    with pytest.raises(NotFound) as foreign:
        account_for(UserPrincipal(ravi), R, account.public_id)
    with pytest.raises(NotFound) as missing:
        account_for(UserPrincipal(ravi), R, uuid4())
    assert str(foreign.value) == str(missing.value)


def test_f80_a_foreign_account_and_a_missing_one_take_the_same_queries_and_leave_the_same_row(
    account: TradingAccount, ravi: User
) -> None:
    asked = []
    for public_id in (account.public_id, uuid4()):
        with CaptureQueriesContext(connection) as queries, pytest.raises(NotFound):
            account_for(UserPrincipal(ravi), R, public_id)
        # Of a prepared statement there is no text.
        asked.append([re.sub(r"'[^']*'", "…", query["sql"] or "") for query in queries.captured_queries])
        event = AuditEvent.objects.get(details__public_id=str(public_id))
        assert (event.kind, event.actor, event.account) == ("access.refused", f"user:{ravi.pk}", "")
    assert asked[0] == asked[1]


def test_what_may_not_be_done_on_an_account_that_one_may_see_is_denied_and_written_down(
    account: TradingAccount, ravi: User
) -> None:
    Grant.objects.create(user=ravi, account=account, action=R)
    assert account_for(UserPrincipal(ravi), R, account.public_id) == account
    with pytest.raises(Denied, match="You may not trade on account AB1234"):
        account_for(UserPrincipal(ravi), T, account.public_id)
    assert AuditEvent.objects.get(kind="access.refused").details["action"] == "trade"
