"""Tickets for the WebSockets of browsers: half a minute, once, one page, and no more than their maker may do."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.authorisation import accounts_for, authorise
from accounts.exceptions import Denied, NotAuthenticated
from accounts.models import ApiKey, ExternalIdentity, SocketTicket, TradingAccount
from accounts.principals import TicketPrincipal
from accounts.sockets import principal_of_scope
from accounts.tests.test_sockets import OWN, scope
from accounts.tickets import password_mark

TICKETS = "/api/v1/ws-tickets"
ORIGIN = "http://127.0.0.1:8080"
SENT = {"Origin": ORIGIN, "Host": "127.0.0.1:8080"}


@pytest.fixture
def person(asha: User, account: TradingAccount, client: Client) -> Client:
    client.force_login(asha)
    return client


@pytest.fixture
def ticket(person: Client) -> str:
    return str(ask(person).json()["ticket"])


def ask(client: Client, headers: dict[str, str] | None = None, **body: Any) -> Any:
    return client.post(TICKETS, body, content_type="application/json", headers=SENT if headers is None else headers)


def with_ticket(text: str, *headers: tuple[bytes, bytes]) -> dict[str, Any]:
    return scope(*(headers or (OWN,))) | {"subprotocols": ["ticker.v1", f"ticket.{text}"]}


def test_a_ticket_opens_one_socket_as_its_maker(person: Client, asha: User, account: TradingAccount) -> None:
    answer = ask(person)
    assert answer.status_code == 201
    made = answer.json()
    assert (made["scopes"], made["origin"]) == (["stream"], ORIGIN)
    principal = principal_of_scope(with_ticket(made["ticket"]))
    assert isinstance(principal, TicketPrincipal)
    assert (principal.name, principal.label) == (f"user:{asha.pk}", "asha")
    authorise(principal, Action.STREAM, account)
    with pytest.raises(Denied):
        authorise(principal, Action.READ)
    assert not accounts_for(principal, Action.TRADE).exists()
    with pytest.raises(NotAuthenticated):
        principal_of_scope(with_ticket(made["ticket"]))


def test_the_socket_that_a_ticket_opened_goes_on_when_it_is_looked_at_again(ticket: str) -> None:
    opened = with_ticket(ticket)
    first = principal_of_scope(opened)
    SocketTicket.objects.all().delete()  # cleared away, as after a while
    assert principal_of_scope(opened) == first


@pytest.mark.parametrize("end", ["password", "retired", "deleted"])
def test_the_socket_ends_with_its_maker(ticket: str, asha: User, account: TradingAccount, end: str) -> None:
    opened = with_ticket(ticket)
    principal_of_scope(opened)
    if end == "password":
        asha.set_password("another correct horse")
        asha.save(update_fields=["password"])
    elif end == "retired":
        User.objects.update(is_active=False)
    else:
        account.delete()
        asha.delete()
    with pytest.raises(NotAuthenticated):
        principal_of_scope(opened)


def test_a_ticket_of_a_key_ends_with_the_key(asha: User, account: TradingAccount) -> None:
    key, text = create_api_key(owner=asha, label="k", scopes=[Action.STREAM], accounts=[account])
    made = ask(Client(headers={"X-API-Key": text}), {"Host": "127.0.0.1:8080"}, origin=ORIGIN).json()
    opened = with_ticket(made["ticket"])
    principal = principal_of_scope(opened)
    assert (principal.name, principal.ends_at) == (f"apikey:{key.key_id}", key.expires_at)
    ApiKey.objects.update(revoked_at=timezone.now())
    with pytest.raises(NotAuthenticated):
        principal_of_scope(opened)


def test_a_ticket_of_a_token_ends_with_the_token(asha: User, account: TradingAccount) -> None:
    identity = ExternalIdentity.objects.create(issuer="i", subject="user-7", user=asha)
    ends_at = timezone.now() + timedelta(seconds=20)
    _, text = SocketTicket.objects.issue(
        scopes=[Action.STREAM], origin=ORIGIN, identity=identity, maker_ends_at=ends_at
    )
    opened = with_ticket(text)
    principal = principal_of_scope(opened)
    assert principal.name == "jwt:user-7"
    authorise(principal, Action.STREAM, account)
    assert principal.ends_at is not None
    assert principal.ends_at - ends_at <= timedelta(seconds=30)
    opened["ticker.redeemed"].maker_ends_at = timezone.now()
    with pytest.raises(NotAuthenticated):
        principal_of_scope(opened)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: with_ticket(text[:-1]),
        lambda text: with_ticket(""),
        lambda text: with_ticket(text + "x"),
        lambda text: with_ticket(text.swapcase()),
        lambda text: with_ticket("é\ud800"),
        lambda text: with_ticket("a" * 100_000),
        lambda text: with_ticket(text, (b"x-nothing", b"")),  # no Origin
        lambda text: with_ticket(text, OWN, OWN),
        lambda text: with_ticket(text, OWN, (b"x-api-key", b"kts_test_abcd1234_" + b"A" * 43)),
        lambda text: with_ticket(text, OWN, (b"authorization", b"Bearer x.y.z")),
        lambda text: scope(OWN) | {"subprotocols": [f"ticket.{text}", f"ticket.{text}"]},
    ],
)
def test_a_spoiled_ticket_opens_nothing(ticket: str, spoil: Callable[[str], dict[str, Any]]) -> None:
    with pytest.raises(NotAuthenticated):
        principal_of_scope(spoil(ticket))
    assert SocketTicket.objects.get().used_at is None


@pytest.mark.parametrize("fields", [{"expires_at": timezone.now()}, {"used_at": timezone.now()}])
def test_an_old_or_used_ticket_opens_nothing(ticket: str, fields: dict[str, Any]) -> None:
    SocketTicket.objects.update(**fields)
    with pytest.raises(NotAuthenticated, match=r"^This ticket is not valid\.$"):
        principal_of_scope(with_ticket(ticket))


def test_another_page_cannot_use_it_even_one_of_ours(ticket: str, settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example"]
    with pytest.raises(NotAuthenticated):
        principal_of_scope(with_ticket(ticket, (b"origin", b"https://desk.example")))
    with pytest.raises(Denied):
        principal_of_scope(with_ticket(ticket, (b"origin", b"https://evil.example")))


@pytest.mark.django_db(transaction=True)
def test_of_two_that_bring_one_ticket_one_gets_in() -> None:
    user = User.objects.create_user("both")
    _, text = SocketTicket.objects.issue(
        scopes=[Action.STREAM], origin=ORIGIN, user=user, password_mark=password_mark(user)
    )
    ready = Barrier(4)

    def redeem(_: int) -> bool:
        try:
            ready.wait(10)
            return SocketTicket.objects.redeem(text, ORIGIN) is not None
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(redeem, range(4))) == 1


def test_the_ticket_is_stored_nowhere(ticket: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT t::text FROM accounts_socketticket t")
        assert ticket not in str(cursor.fetchall())


def test_tickets_that_are_long_over_are_cleared_away(person: Client, ticket: str) -> None:
    SocketTicket.objects.update(expires_at=timezone.now() - timedelta(minutes=2))
    ask(person)
    assert SocketTicket.objects.count() == 1


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Host": "127.0.0.1:8080"}, {}, 400),  # which page?
        (SENT, {"origin": "https://desk.example"}, 400),  # two pages
        (SENT | {"Origin": "https://evil.example"}, {}, 403),
        ({"Host": "127.0.0.1:8080"}, {"origin": "https://evil.example"}, 403),
        ({"Host": "127.0.0.1:8080"}, {"origin": "null"}, 403),
        (SENT, {"scopes": []}, 400),
        (SENT, {"scopes": ["root"]}, 400),
        (SENT, {"scopes": "stream"}, 400),
        (SENT, {"user": 1}, 400),
        (SENT, {"expires_at": "2099-01-01"}, 400),
    ],
)
def test_f81_a_ticket_is_for_one_of_our_pages_and_nobody_chooses_its_other_fields(
    person: Client, headers: dict[str, str], body: dict[str, Any], status: int
) -> None:
    assert ask(person, headers, **body).status_code == status
    assert not SocketTicket.objects.exists()


def test_a_ticket_can_do_no_more_than_its_maker(asha: User, account: TradingAccount) -> None:
    _, text = create_api_key(owner=asha, label="k", scopes=[Action.STREAM], accounts=[account])
    client = Client(headers={"X-API-Key": text})
    assert ask(client, scopes=["stream", "trade"]).status_code == 403
    _, text = create_api_key(owner=asha, label="k", scopes=[Action.READ], accounts=[account])
    assert ask(Client(headers={"X-API-Key": text})).status_code == 403


def test_a_foreign_page_cannot_have_a_person_make_one(asha: User, account: TradingAccount) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(asha)
    assert ask(browser).status_code == 403
