"""Every route of the service × who asks. The routes come from the URL resolver, so that no later one escapes.

A new route has to say in `RIGHTS` who may use it, by method; without that these tests fail.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLResolver, get_resolver, reverse

from accounts.actions import Action, opened_by
from accounts.api_keys import create_api_key
from accounts.models import Grant, KiteApp, TradingAccount

READ, STREAM, TRADE, ADMIN, KILLSWITCH = Action
OPEN = "open"  # to strangers too
KNOWN = "known"  # to whoever says who they are, with or without any right
SERVICE = "service"  # to the service's administrators

RIGHTS: Mapping[str, Mapping[str, Action | str]] = {
    "health": {"get": OPEN},
    "health-live": {"get": OPEN},
    "metrics": {"get": READ},
    "kite-postback": {"post": OPEN},  # to whoever knows the app's secret, that is: others leave nothing behind
    "schema": {"get": READ},
    "docs": {"get": READ},
    "accounts:login": {"get": OPEN, "post": OPEN},
    "accounts:login-link": {"get": OPEN},
    "accounts:logout": {"post": OPEN},
    "accounts:kite-login": {"get": ADMIN},
    "accounts:kite-refresh": {"post": ADMIN},
    "accounts:kite-logout": {"post": ADMIN},
    "accounts:kite-callback": {"get": ADMIN},
    "accounts:me": {"get": KNOWN},
    "accounts:ws-tickets": {"post": STREAM},
    "accounts:budget": {"get": READ},
    "accounts:trading-account-list": {"get": READ, "post": SERVICE},
    "accounts:trading-account-detail": {"get": READ, "patch": ADMIN},
    "accounts:trading-account-session": {"put": ADMIN, "delete": ADMIN},
    "accounts:trading-account-automated-login": {"put": ADMIN, "delete": ADMIN},
    "accounts:trading-account-app-secret": {"put": ADMIN},
    "instrument-list": {"get": READ},
    "instrument-detail": {"get": READ},
    "instrument-refresh": {"get": SERVICE, "post": SERVICE},
    "calendar": {"get": READ},
    "quotes": {"get": READ, "post": READ},
    "option-chain-detail": {"get": READ},
    "option-chain-chain": {"get": READ},
    "option-chain-history": {"get": READ},
    "candles": {"get": READ},
    "gaps": {"get": READ},
    "greeks": {"post": READ},
    "strategy-payoff": {"post": READ},
    "streaming:subscription-list": {"get": READ, "post": STREAM},
    "streaming:subscription-detail": {"get": READ, "delete": STREAM},
    "streaming:strike-rule-list": {"get": READ, "post": STREAM},
    "streaming:strike-rule-detail": {"get": READ, "patch": STREAM, "delete": STREAM},
    "streaming:strike-rule-preview": {"get": READ},
    "streaming:strike-rule-moves": {"get": READ},
    "orders:order-list": {"get": READ, "post": TRADE},
    "orders:order-detail": {"get": READ, "patch": TRADE, "delete": TRADE},
    "orders:order-preview": {"post": TRADE},
    "orders:order-timeline": {"get": READ},
    "orders:order-requeue": {"post": TRADE},
    "orders:order-resolve": {"post": TRADE},
    "orders:batch-orders": {"post": TRADE},
    "orders:batch-cancel": {"post": TRADE},
    "legacy-place": {"post": TRADE},
    "legacy-modify": {"post": TRADE},
    "legacy-cancel": {"post": TRADE},
    "orders:broker-order": {"patch": TRADE, "delete": TRADE},
    "orders:account-positions": {"get": READ},
    "orders:account-holdings": {"get": READ},
    "orders:account-funds": {"get": READ},
    "orders:account-trades": {"get": READ},
    "orders:account-broker-orders": {"get": READ},
    "orders:account-drift": {"get": READ},
    "orders:account-sync": {"post": READ},
    "orders:order-limits": {"get": READ, "put": ADMIN},
    "orders:trading-states": {"get": READ, "put": KILLSWITCH},
    "orders:flatten": {"post": TRADE},
    "dashboard:home": {"get": STREAM},
    "dashboard:chain": {"get": STREAM},
    "dashboard:session": {"get": STREAM},
    "dashboard:accounts": {"get": READ},
    "dashboard:calendar": {"get": READ},
    "dashboard:account": {"get": READ},
    "dashboard:positions": {"get": READ},
    "dashboard:feed": {"get": READ},
    "dashboard:orders": {"get": READ},
    "dashboard:new-order": {"get": TRADE},
    "dashboard:order": {"get": READ},
    "dashboard:change-order": {"get": TRADE, "post": TRADE},
    "dashboard:change-external-order": {"get": TRADE, "post": TRADE},
    "dashboard:cancel-order": {"post": TRADE},
    "dashboard:cancel-external-order": {"post": TRADE},
    "dashboard:decide-order": {"post": TRADE},
    "dashboard:seen-order": {"post": READ},
    "dashboard:ticket-contract": {"get": TRADE},
    "dashboard:ticket-search": {"get": TRADE},
    "dashboard:trading": {"get": READ},
    "dashboard:trading-notices": {"get": READ},
    "dashboard:trading-consequences": {"get": TRADE},
    "dashboard:halt": {"post": TRADE},
    "dashboard:resume": {"post": TRADE},
    # one's own keys, that is; somebody else's are not found
    "dashboard:keys": {"get": KNOWN, "post": KNOWN},
    "dashboard:replace-key": {"post": KNOWN},
    "dashboard:revoke-key": {"post": KNOWN},
}
# In place of a route's parameters; a route with a new one has to add it here. `public_id` is an account's.
PARAMETERS: Mapping[str, object] = {
    "symbol": "NSE:INFY",
    "underlying": "NIFTY",
    "expiry": date(2026, 12, 1),
    "instrument_token": "1",
    "exchange": "NFO",
    "token": "x",
    "kite_user_id": "AB1234",
    "key_id": "nosuchid",
    "slug": "x" * 43,
    "task_id": UUID("00000000-0000-4000-8000-000000000000"),
    "order_id": "1",
    "rule_id": "1",
}
METHODS = ("get", "post", "put", "patch", "delete")
FAR_AWAY = "10.9.9.9"  # this machine itself may see more


@dataclass(frozen=True)
class Route:
    name: str
    pattern: str
    parameters: tuple[str, ...]
    callback: Callable[..., Any]

    @property
    def is_rest(self) -> bool:
        """Whether it knows API keys; pages know sessions only."""
        return hasattr(self.callback, "cls")

    @property
    def names_an_account(self) -> bool:
        return "public_id" in self.parameters

    @property
    def methods(self) -> tuple[str, ...]:
        """What it answers to, as far as it says so; a function says it in its answer only."""
        if actions := getattr(self.callback, "actions", None):
            return tuple(method for method in METHODS if method in actions)
        view = getattr(self.callback, "cls", getattr(self.callback, "view_class", None))
        return tuple(method for method in METHODS if hasattr(view, method)) if view else ()

    def path(self, public_id: UUID | str) -> str:
        values = {name: public_id if name == "public_id" else PARAMETERS[name] for name in self.parameters}
        return reverse(self.name, kwargs=values)


def walk(resolver: Any, namespaces: tuple[str, ...] = (), before: str = "/") -> Iterator[Route]:
    for entry in resolver.url_patterns:
        pattern = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from walk(entry, (*namespaces, entry.namespace) if entry.namespace else namespaces, pattern)
        else:
            parameters = tuple(entry.pattern.converters) or tuple(entry.pattern.regex.groupindex)
            yield Route(":".join((*namespaces, entry.name or "?")), pattern, parameters, entry.callback)


ROUTES = list(walk(get_resolver()))
OURS = [route for route in ROUTES if not route.name.startswith("admin:")]
ADMIN_PAGES = [route for route in ROUTES if route.name.startswith("admin:")]
CASES = [(route, method, RIGHTS[route.name][method]) for route in OURS for method in RIGHTS.get(route.name, {})]
IDS = [f"{method} {route.name}" for route, method, _ in CASES]
OF_AN_ACCOUNT = [case for case in CASES if case[0].names_an_account]
ACCOUNT_IDS = [f"{method} {route.name}" for route, method, _ in OF_AN_ACCOUNT]

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> User:
    return User.objects.create_user("asha")


@pytest.fixture
def account(owner: User) -> TradingAccount:
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner)


@pytest.fixture
def foreign(account: TradingAccount) -> TradingAccount:
    ravi = User.objects.create_user("ravi")
    return TradingAccount.objects.create(kite_user_id="CD5678", label="Ravi", app=account.app, owner=ravi)


def with_key(owner: User, account: TradingAccount, *scopes: Action) -> Client:
    _, text = create_api_key(owner=owner, label="k", scopes=scopes, accounts=[account])
    return Client(headers={"X-API-Key": text}, REMOTE_ADDR=FAR_AWAY)


def with_session(user: User) -> Client:
    client = Client(REMOTE_ADDR=FAR_AWAY)
    client.force_login(user)
    return client


def asker(route: Route, account: TradingAccount, *actions: Action) -> Client:
    """Somebody who has exactly these rights on the account: a key where keys are known, else a person with grants."""
    if route.is_rest:
        return with_key(account.owner, account, *actions)
    person = User.objects.create_user(f"may {' '.join(actions)} {uuid4()}")
    for action in actions:
        Grant.objects.create(user=person, account=account, action=action)
    return with_session(person)


def ask(client: Client, method: str, path: str, body: Any = None) -> Any:
    return client.generic(method.upper(), path, "" if body is None else body, content_type="application/json")


def is_kept_out(response: Any) -> bool:
    to_login = response.status_code == 302 and response["Location"].startswith("/login/?next=")
    return to_login or response.status_code in {401, 403}


@pytest.mark.parametrize("route", OURS, ids=lambda route: route.name)
def test_every_route_says_who_may_use_it(route: Route) -> None:
    assert route.name in RIGHTS, "say in RIGHTS who may use this route, by method"
    if route.is_rest:
        assert set(route.methods) == set(RIGHTS[route.name])
    assert all(name == "public_id" or name in PARAMETERS for name in route.parameters)


@pytest.mark.parametrize(("route", "method", "right"), CASES, ids=IDS)
def test_f79_nobody_and_who_has_no_right_are_kept_out(
    account: TradingAccount, route: Route, method: str, right: Action | str
) -> None:
    path = route.path(account.public_id)
    nobody = ask(Client(REMOTE_ADDR=FAR_AWAY), method, path)
    stranger = ask(with_session(User.objects.create_user("stranger")), method, path)
    assert is_kept_out(nobody) == (right != OPEN)
    if route.is_rest:
        assert (nobody.status_code == 401) == (right != OPEN)
    if route.pattern.startswith("/api/v1/"):
        assert set(nobody.json()["error"]) == {"code", "message", "details", "request_id", "timestamp"}
    if right in (OPEN, KNOWN):
        assert not is_kept_out(stranger)
    else:
        assert stranger.status_code in {403, 404}


@pytest.mark.parametrize(("route", "method", "right"), CASES, ids=IDS)
def test_f79_of_all_scopes_only_the_right_one_gets_in(
    account: TradingAccount, route: Route, method: str, right: Action | str
) -> None:
    path = route.path(account.public_id)
    let_in = {action for action in Action if not is_kept_out(ask(asker(route, account, action), method, path))}
    if isinstance(right, Action):
        assert let_in == opened_by(right)
    else:
        assert let_in == (set() if right == SERVICE else set(Action))
    if right == SERVICE:
        root = User.objects.create_superuser("root")
        assert not is_kept_out(ask(with_key(root, account, ADMIN), method, path))


@pytest.mark.parametrize(("route", "method", "right"), CASES, ids=IDS)
def test_what_is_let_in_is_answered_and_never_with_an_error_of_ours(
    account: TradingAccount, route: Route, method: str, right: Action | str
) -> None:
    for body in (None, "{}", "[]", "null", '{"a": 1', "\0"):
        response = ask(asker(route, account, *Action), method, route.path(account.public_id), body)
        assert response.status_code < 500 or response.status_code in {502, 503}, body


@pytest.mark.parametrize(
    ("route", "method", "right"), OF_AN_ACCOUNT, ids=[f"{c[1]} {c[0].name}" for c in OF_AN_ACCOUNT]
)
def test_f80_a_foreign_account_and_a_missing_one_are_answered_alike(
    account: TradingAccount, foreign: TradingAccount, route: Route, method: str, right: Action | str
) -> None:
    client = asker(route, account, *Action)
    theirs = ask(client, method, route.path(foreign.public_id))
    missing = ask(client, method, route.path(uuid4()))
    assert (theirs.status_code, missing.status_code) == (404, 404)
    assert told_by(theirs) == told_by(missing)
    assert "CD5678" not in theirs.content.decode()
    foreign.refresh_from_db()
    assert foreign.state == "enabled"


WRITING = [case for case in CASES if case[0].is_rest and case[1] in {"post", "put", "patch"}]
SMUGGLED = ["account_id_", "status", "owner_id", "tag", "lease_token", "is_staff", "id", "public_id", "digest"]


@pytest.mark.parametrize(("route", "method", "right"), WRITING, ids=[f"{case[1]} {case[0].name}" for case in WRITING])
def test_f81_fields_that_nobody_may_set_are_refused_by_name(
    account: TradingAccount, route: Route, method: str, right: Action | str
) -> None:
    client = with_key(User.objects.create_superuser("root"), account, *Action) if right == SERVICE else None
    client = client or asker(route, account, *Action)
    body = "{" + ", ".join(f'"{name}": true' for name in SMUGGLED) + "}"
    response = ask(client, method, route.path(account.public_id), body)
    assert response.status_code == 400
    details = response.json()["error"]["details"]
    assert {name for name in SMUGGLED if details.get(name) == ["Unknown field."]} == set(SMUGGLED)


def test_f79_the_admin_is_for_staff(owner: User) -> None:
    assert len(ADMIN_PAGES) > 50
    clients = [Client(), with_session(owner)]
    for route in ADMIN_PAGES:
        if route.name in {"admin:login", "admin:logout"}:
            continue
        # The only expressions in it are the list of an app and the rest of all addresses.
        path = re.sub(r"<[^>]+>", "1", re.sub(r"\^?\(\?P<.*\)(/?)\$", r"accounts\1", route.pattern))
        for client in clients:
            for method in ("get", "post"):
                response = ask(client, method, path)
                assert response.status_code == 302, path
                assert response["Location"].startswith("/admin/login/") or response.url.endswith("/change/"), path


def told_by(response: Any) -> Any:
    """What an answer says, but for what differs from request to request."""
    if not response["Content-Type"].startswith("application/json"):
        return response.content.decode().replace(response["X-Request-ID"], "")
    error = response.json()["error"]
    return {name: value for name, value in error.items() if name not in {"request_id", "timestamp"}}
