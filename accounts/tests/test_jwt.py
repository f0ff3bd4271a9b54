"""JWTs: a good one is its subject's user within its scopes; every other one is nobody, and all of those look alike."""

import base64
import json
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from accounts import jwks
from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.audit_events import AuditEvent
from accounts.exceptions import Denied, NotAuthenticated
from accounts.jwks import KeyStore, KeysUnavailable
from accounts.models import ExternalIdentity, Grant, TradingAccount
from accounts.principals import TokenPrincipal
from accounts.sockets import principal_of_scope
from accounts.tests.test_sockets import OWN, scope
from accounts.tests.tokens import (
    AUDIENCE,
    ISSUER,
    SUBJECT,
    b64,
    claims,
    ec_jwk,
    header,
    key_set,
    public_pem,
    rsa_jwk,
    rsa_key,
    sign_es256,
    sign_hs256,
    sign_ps256,
    sign_rs256,
    token,
)

ME = "/api/v1/me"
ONE_SHAPE = {"code", "message", "details", "request_id", "timestamp"}


class Issuer:
    """What the store fetches, and how often it was asked."""

    def __init__(self) -> None:
        self.body = key_set(rsa_jwk(rsa_key(1), "k1", alg="RS256"), ec_jwk("e1", alg="ES256"))
        self.asked = 0

    def fetch(self) -> bytes:
        self.asked += 1
        return self.body


@pytest.fixture
def issuer(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Issuer:
    """The settings of an issuer, with its keys fetched once and no thread."""
    settings.JWKS_URL, settings.JWT_ISSUER, settings.JWT_AUDIENCE = "https://users.example.com/jwks", ISSUER, AUDIENCE
    settings.JWT_ALGORITHMS = ["RS256", "ES256"]
    issuer = Issuer()
    store = KeyStore(issuer.fetch, settings.JWT_ALGORITHMS)
    assert store.refresh()
    monkeypatch.setattr(jwks, "_store", lambda url, algorithms: store)
    monkeypatch.setattr(jwks, "ensure_refresher", lambda store: None)
    return issuer


@pytest.fixture
def identity(asha: User, account: TradingAccount) -> ExternalIdentity:
    return ExternalIdentity.objects.create(issuer=ISSUER, subject=SUBJECT, user=asha)


def ask(client: Client, text: str, **headers: str) -> Any:
    return client.get(ME, headers={"Authorization": f"Bearer {text}", **headers})


@pytest.mark.parametrize(
    "good",
    [
        lambda: token(),
        lambda: token(header(alg="ES256", kid="e1"), sign=sign_es256),
        lambda: token(header(typ="application/at+jwt")),
        lambda: token(header(typ="AT+JWT")),
        lambda: token(header(typ="JWT"), claims(token_use="access")),
        lambda: token(header(typ="JWT"), claims(typ="Bearer")),
        lambda: token(body=claims(aud=["another", AUDIENCE])),
        lambda: token(body=claims(nbf=int(time.time()) - 5, jti="x", extra={"a": [1]})),
        lambda: token(body=claims(iat=int(time.time()) + 20)),
        lambda: token(body=claims(scope=["ticker:read", "ticker:stream"])),
    ],
)
def test_a_good_token_is_its_subjects_user_within_its_scopes(
    issuer: Issuer, identity: ExternalIdentity, client: Client, good: Callable[[], str]
) -> None:
    answer = ask(client, good())
    assert answer.status_code == HTTPStatus.OK
    found = answer.json()
    assert (found["kind"], found["name"], found["scopes"]) == ("token", "asha", ["read", "stream"])
    assert [one["actions"] for one in found["accounts"]] == [["read", "stream"]]


@pytest.mark.parametrize(
    ("scopes", "meant"),
    [
        ("ticker:trade openid admin TICKER:READ ticker:read,stream", ["trade"]),
        ("", []),
        (None, []),
        (7, []),
        ({"ticker:read": True}, []),
        (["ticker:admin", 7, None, ["ticker:read"]], ["admin"]),
    ],
)
def test_scopes_mean_what_our_own_table_says_and_nothing_else(
    issuer: Issuer, identity: ExternalIdentity, client: Client, scopes: Any, meant: list[str]
) -> None:
    assert ask(client, token(body=claims(scope=scopes))).json()["scopes"] == meant


def test_a_service_of_its_own_has_what_it_was_granted(
    issuer: Issuer, account: TradingAccount, other_account: TradingAccount, client: Client
) -> None:
    service = User.objects.create_user("user-service")
    ExternalIdentity.objects.create(issuer=ISSUER, subject="svc:sync", user=service)
    Grant.objects.create(user=service, account=account, action=Action.READ)
    answer = ask(client, token(body=claims(sub="svc:sync"))).json()
    assert [(one["kite_user_id"], one["actions"]) for one in answer["accounts"]] == [("AB1234", ["read"])]


def test_a_token_is_no_administrator_of_what_belongs_to_no_account(
    issuer: Issuer, administrator: User, client: Client
) -> None:
    ExternalIdentity.objects.create(issuer=ISSUER, subject=SUBJECT, user=administrator)
    response = client.get("/api/v1/instruments", headers={"Authorization": f"Bearer {token()}"})
    assert response.status_code == HTTPStatus.FORBIDDEN


# --- what is refused --------------------------------------------------------------------------------------------------


def raw(head: bytes, body: bytes | None = None) -> str:
    return token(head, body)


def respelled() -> str:
    """The same bytes, spelled with other unused bits in the last letter of the signature."""
    good = token()
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return good[:-1] + last[last.index(good[-1]) ^ 1]


def body_with(extra: bytes) -> bytes:
    return json.dumps(claims()).encode()[:-1] + b"," + extra + b"}"


NOW = int(time.time())
DAY = 24 * 3600
WRONG = rsa_key(2)

HOSTILE: dict[str, Callable[[], str]] = {
    # algorithms
    "alg none, no signature": lambda: token(header(alg="none"), sign=lambda _: b""),
    "alg none, a signature": lambda: token(header(alg="none")),
    "alg None": lambda: token(header(alg="None")),
    "alg nOnE": lambda: token(header(alg="nOnE")),
    "alg empty": lambda: token(header(alg="")),
    "alg missing": lambda: token(header(alg=None)),
    "alg a list": lambda: token(header(alg=["RS256"])),
    "alg an object": lambda: token(header(alg={"RS256": 1})),
    "alg a number": lambda: token(header(alg=256)),
    "alg in small letters": lambda: token(header(alg="rs256")),
    "alg of our list, but not the key's": lambda: token(header(alg="ES256", kid="k1"), sign=sign_es256),
    "alg of the other key": lambda: token(header(alg="RS256", kid="e1")),
    "alg not of our list, same key": lambda: token(header(alg="PS256"), sign=sign_ps256),
    "alg RS512": lambda: token(header(alg="RS512")),
    "HS256 with the public key as secret": lambda: token(
        header(alg="HS256"), sign=lambda signed: sign_hs256(signed, public_pem(rsa_key(1)))
    ),
    "HS256 with an empty secret": lambda: token(header(alg="HS256"), sign=lambda signed: sign_hs256(signed, b"")),
    "HS256 with the modulus as secret": lambda: token(
        header(alg="HS256"), sign=lambda signed: sign_hs256(signed, rsa_jwk(rsa_key(1), "k1")["n"].encode())
    ),
    "RS256 announced, HS256 made": lambda: token(sign=lambda signed: sign_hs256(signed, public_pem(rsa_key(1)))),
    # signatures
    "signature of another key": lambda: token(sign=lambda signed: sign_rs256(signed, WRONG)),
    "signature empty": lambda: token(sign=lambda _: b""),
    "signature cut": lambda: token(sign=lambda signed: sign_rs256(signed)[:-1]),
    "signature of zeros": lambda: token(sign=lambda _: b"\0" * 256),
    "signature of another token": lambda: (
        token(body=claims(sub="root")).rsplit(".", 1)[0] + "." + token().rsplit(".", 1)[1]
    ),
    "signature spelled otherwise": respelled,
    "ES256 signature of zeros": lambda: token(header(alg="ES256", kid="e1"), sign=lambda _: b"\0" * 64),
    "claims changed after signing": lambda: ".".join(
        [token().split(".")[0], b64(json.dumps(claims(scope="ticker:trade")).encode()), token().split(".")[2]]
    ),
    # key ids
    "kid unknown": lambda: token(header(kid="k9")),
    "kid missing": lambda: token(header(kid=None)),
    "kid empty": lambda: token(header(kid="")),
    "kid a number": lambda: token(header(kid=1)),
    "kid a list": lambda: token(header(kid=["k1"])),
    "kid a path": lambda: token(header(kid="../../../../dev/null"), sign=lambda signed: sign_hs256(signed, b"")),
    "kid SQL": lambda: token(header(kid="k1' OR '1'='1")),
    "kid a URL": lambda: token(header(kid="https://evil.example/jwks")),
    "kid with NUL": lambda: token(header(kid="k1\0")),
    "kid very long": lambda: token(header(kid="k" * 2000)),
    # headers that bring keys or change the reading
    "jku": lambda: token(header(jku="https://evil.example/jwks")),
    "x5u": lambda: token(header(x5u="https://evil.example/cert")),
    "jwk": lambda: token(header(jwk=rsa_jwk(WRONG, "k1")), sign=lambda signed: sign_rs256(signed, WRONG)),
    "x5c": lambda: token(header(x5c=["MIIB"])),
    "crit": lambda: token(header(crit=["exp"])),
    "crit empty": lambda: token(header(crit=[])),
    "b64 false": lambda: token(header(b64=False, crit=["b64"])),
    "zip": lambda: token(header(zip="DEF")),
    "typ missing": lambda: token(header(typ=None)),
    "typ of another kind": lambda: token(header(typ="logout+jwt")),
    "typ a list": lambda: token(header(typ=["at+jwt"])),
    "an ID token": lambda: token(header(typ="JWT"), claims(nonce="n", at_hash="h")),
    "an ID token that says so": lambda: token(header(typ="JWT"), claims(token_use="id")),
    "a refresh token": lambda: token(header(typ="JWT"), claims(typ="Refresh")),
    "two words on the type": lambda: token(header(typ="JWT"), claims(typ="Bearer", token_use="id")),
    # claims
    "iss of another": lambda: token(body=claims(iss="https://evil.example")),
    "iss a part of ours": lambda: token(body=claims(iss=ISSUER[:-1])),
    "iss ours and more": lambda: token(body=claims(iss=ISSUER + "/")),
    "iss a list": lambda: token(body=claims(iss=[ISSUER])),
    "iss missing": lambda: token(body=claims(iss=None)),
    "aud of another": lambda: token(body=claims(aud="another")),
    "aud a part of ours": lambda: token(body=claims(aud="tick")),
    "aud missing": lambda: token(body=claims(aud=None)),
    "aud an empty list": lambda: token(body=claims(aud=[])),
    "aud a list with a number": lambda: token(body=claims(aud=[AUDIENCE, 7])),
    "aud an object": lambda: token(body=claims(aud={AUDIENCE: 1})),
    "sub missing": lambda: token(body=claims(sub=None)),
    "sub empty": lambda: token(body=claims(sub="")),
    "sub a number": lambda: token(body=claims(sub=7)),
    "sub with NUL": lambda: token(body=claims(sub=SUBJECT + "\0")),
    "sub half a surrogate pair": lambda: token(body=claims(sub="\ud800")),
    "sub very long": lambda: token(body=claims(sub="a" * 300)),
    "sub that nobody linked": lambda: token(body=claims(sub="user-8")),
    "expired": lambda: token(body=claims(iat=NOW - 7200, exp=NOW - 3600)),
    "expired just beyond the leeway": lambda: token(body=claims(iat=NOW - 900, exp=NOW - 40)),
    "not yet valid": lambda: token(body=claims(nbf=NOW + 3600)),
    "issued in the future": lambda: token(body=claims(iat=NOW + 3600, exp=NOW + 7200)),
    "ends before it begins": lambda: token(body=claims(iat=NOW + 20, exp=NOW + 10)),
    "lives too long": lambda: token(body=claims(iat=NOW - 5, exp=NOW + DAY)),
    "lives ten years": lambda: token(body=claims(exp=NOW + 3650 * DAY)),
    "exp missing": lambda: token(body=claims(exp=None)),
    "exp a text": lambda: token(body=claims(exp=str(NOW + 600))),
    "exp a fraction": lambda: token(body=claims(exp=NOW + 600.5)),
    "exp huge": lambda: token(body=claims(exp=10**30)),
    "exp of 5,000 digits": lambda: raw(json.dumps(header()).encode(), body_with(b'"exp":' + b"9" * 5000)),
    "exp true": lambda: token(body=claims(exp=True)),
    "exp negative": lambda: token(body=claims(exp=-1)),
    "exp Infinity": lambda: token(body=claims(exp=float("inf"))),
    "exp NaN": lambda: token(body=claims(exp=float("nan"))),
    "iat missing": lambda: token(body=claims(iat=None)),
    "iat a text": lambda: token(body=claims(iat=str(NOW))),
    "nbf a text": lambda: token(body=claims(nbf="now")),
    "nbf null": lambda: raw(json.dumps(header()).encode(), body_with(b'"nbf":null')),
    # form
    "a claim twice": lambda: raw(json.dumps(header()).encode(), body_with(b'"sub":"root"')),
    "a header twice": lambda: raw(json.dumps(header()).encode()[:-1] + b',"alg":"none"}'),
    "claims a list": lambda: token(body=b"[]"),
    "claims a text": lambda: token(body=b'"sub"'),
    "claims null": lambda: token(body=b"null"),
    "claims no JSON": lambda: token(body=b"{sub}"),
    "claims not UTF-8": lambda: token(body=b'{"sub":"\xff"}'),
    "claims nested deep": lambda: token(body=b"[" * 3000),
    "header a list": lambda: token(b"[]"),
    "header no JSON": lambda: token(b"\x00\x01"),
    "header with a mark of byte order": lambda: token(b"\xef\xbb\xbf" + json.dumps(header()).encode()),
    "one part": lambda: token().split(".")[0],
    "two parts": lambda: token().rsplit(".", 1)[0],
    "four parts": lambda: token() + ".x",
    "five parts, encrypted": lambda: ".".join([token(header(enc="A256GCM", alg="dir")), "x", "y"]),
    "no parts": lambda: "..",
    "empty": lambda: "",
    "padded": lambda: token() + "==",
    "plain base64": lambda: ".".join(
        base64.b64encode(part).decode()
        for part in (json.dumps(header()).encode(), b'{"a":"\xc3\xbf\xc3\xbf>>>???"}', b"\xff\xfe")
    ),
    "a space within": lambda: token().replace(".", ". ", 1),
    "a new line within": lambda: token()[:40] + "%0a" + token()[40:],
    "nine kilobytes": lambda: token(body=claims(padding="x" * 9 * 1024)),
    "a megabyte": lambda: "e" * 1024 * 1024,
    "letters beyond ASCII": lambda: token() + "é",
    "an API key": lambda: "kts_test_abcd1234_" + "A" * 43,
}


def test_the_hostile_tokens_are_many() -> None:
    assert len(HOSTILE) >= 60


@pytest.mark.parametrize("name", HOSTILE)
def test_f76_a_hostile_token_is_nobody_and_learns_nothing(
    issuer: Issuer, identity: ExternalIdentity, client: Client, name: str
) -> None:
    asked = issuer.asked
    text = HOSTILE[name]()
    response = ask(client, text)
    assert response.status_code == HTTPStatus.UNAUTHORIZED
    error = response.json()["error"]
    assert set(error) == ONE_SHAPE
    assert (error["code"], error["message"], error["details"]) == (
        "authentication_failed",
        "This token is not valid.",
        {},
    )
    assert issuer.asked == asked, "no request goes out because of a token"
    refusal = AuditEvent.objects.get(kind="token.refused")
    assert len(text) < 20 or text not in str(refusal.details), "a token is not written down, be it good or bad"


def test_f76_the_socket_refuses_the_same_tokens(issuer: Issuer, identity: ExternalIdentity) -> None:
    accepted = []
    for name, make in HOSTILE.items():
        text = make().encode()
        try:
            principal_of_scope(scope((b"authorization", b"Bearer " + text)))
        except NotAuthenticated as exc:
            assert str(exc) == "This token is not valid."
        else:
            accepted.append(name)
    assert accepted == []
    assert isinstance(principal_of_scope(scope((b"authorization", b"Bearer " + token().encode()))), TokenPrincipal)


def test_a_good_token_stays_good_beside_hostile_ones(
    issuer: Issuer, identity: ExternalIdentity, client: Client
) -> None:
    for name in ("kid unknown", "claims nested deep", "a megabyte"):
        ask(client, HOSTILE[name]())
    assert ask(client, token()).status_code == HTTPStatus.OK


def test_tokens_are_off_without_an_issuer(identity: ExternalIdentity, client: Client) -> None:
    response = ask(client, token())
    assert (response.status_code, response.json()["error"]["message"]) == (401, "This token is not valid.")


def test_a_cookie_does_not_help_a_bad_token(issuer: Issuer, asha: User, client: Client) -> None:
    client.force_login(asha)
    assert ask(client, "nonsense").status_code == HTTPStatus.UNAUTHORIZED
    assert client.get(ME, headers={"Authorization": "Basic eDp5"}).status_code == HTTPStatus.OK, "a proxy's own matter"


def test_f78_a_key_and_a_token_together_are_refused(
    issuer: Issuer, identity: ExternalIdentity, asha: User, account: TradingAccount, client: Client
) -> None:
    _, key = create_api_key(owner=asha, label="k", scopes=[Action.READ], accounts=[account])
    response = ask(client, token(), **{"X-API-Key": key})
    assert (response.status_code, response.json()["error"]["code"]) == (401, "authentication_failed")


@pytest.mark.parametrize("end", ["link deleted", "user not active"])
def test_whom_an_administrator_shuts_out_is_out_at_once(
    issuer: Issuer, identity: ExternalIdentity, client: Client, end: str
) -> None:
    text = token()
    assert ask(client, text).status_code == HTTPStatus.OK
    if end == "link deleted":
        identity.delete()
    else:
        User.objects.update(is_active=False)
    assert ask(client, text).status_code == HTTPStatus.UNAUTHORIZED
    assert AuditEvent.objects.get(kind="token.refused").details["subject"] == SUBJECT


def test_without_keys_it_is_our_fault_and_not_the_tokens(
    settings: Settings, identity: ExternalIdentity, client: Client, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = KeyStore(issuer.fetch, ["RS256"])
    monkeypatch.setattr(jwks, "_store", lambda url, algorithms: empty)
    response = ask(client, token())
    assert (response.status_code, response.json()["error"]["code"]) == (503, "identity_unavailable")
    assert response["Retry-After"] == "30"
    with pytest.raises(KeysUnavailable):
        principal_of_scope(scope((b"authorization", b"Bearer " + token().encode())))


def test_a_token_needs_no_origin_and_a_foreign_one_is_refused(issuer: Issuer, identity: ExternalIdentity) -> None:
    bearer = (b"authorization", b"bearer " + token().encode())
    assert principal_of_scope(scope(bearer)).name == f"jwt:{SUBJECT}"
    assert principal_of_scope(scope(bearer, OWN)).name == f"jwt:{SUBJECT}"
    with pytest.raises(Denied):
        principal_of_scope(scope(bearer, (b"origin", b"https://evil.example")))
