"""F88: secrets planted in every way in, used, spoiled and refused; then every place that people read is searched."""

import io
import logging
import logging.config
from collections.abc import Iterator
from http import HTTPStatus

import pytest
import redis
from django.apps import apps
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from psycopg import sql
from pytest_django import Settings

from accounts import jwks
from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.audit_events import AuditEvent
from accounts.jwks import KeyStore
from accounts.models import ExternalIdentity, KiteApp, LoginLink, TradingAccount
from accounts.tests.fakes import Answer, running_broker
from accounts.tests.tokens import AUDIENCE, ISSUER, SUBJECT, claims, key_set, rsa_jwk, rsa_key, token
from tickerproject.logs import logging_configuration

PASSWORD = "canary-Password-9Qz"
KITE_PASSWORD = "canary-KitePass-7Wx"
TOTP_SEED = "CANARYTOTPSEED23CANARYTOTPSEED23"
API_SECRET = "canaryapisecret5rt8canaryapisecret5"
ACCESS_TOKEN = "canaryAccessToken4Fg7canaryAccess4"
REQUEST_TOKEN = "canaryRequestToken6Hj3canaryReques"
READABLE = ("application/json", "text/", "application/vnd.oai.openapi")


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """Every line that any logger writes, as it comes out."""
    output = io.StringIO()
    configuration = logging_configuration(level="INFO", form="json")
    configuration["handlers"]["stdout"]["stream"] = output
    before = logging.root.handlers[:], logging.root.level
    logging.config.dictConfig(configuration)
    yield output
    logging.root.handlers[:], logging.root.level = before


class Reader:
    """Asks, and keeps all that was answered."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def __call__(self, client: Client, method: str, path: str, **more: object) -> int:
        response = client.generic(method, path, **more)  # type: ignore[arg-type]
        if response.get("Content-Type", "").startswith(READABLE):
            self.read.append(response.content.decode())
        self.read.append(str(dict(response.headers)))
        return response.status_code


@pytest.mark.django_db
def test_f88_no_secret_comes_out_anywhere(
    log: io.StringIO, settings: Settings, monkeypatch: pytest.MonkeyPatch, valkey: "redis.Redis"
) -> None:
    settings.JWKS_URL, settings.JWT_ISSUER, settings.JWT_AUDIENCE = "https://users.example.com/jwks", ISSUER, AUDIENCE
    store = KeyStore(lambda: key_set(rsa_jwk(rsa_key(1), "k1")), ["RS256"])
    store.refresh()
    monkeypatch.setattr(jwks, "_store", lambda url, algorithms: store)
    monkeypatch.setattr(jwks, "ensure_refresher", lambda store: None)

    root = User.objects.create_superuser("root", password=PASSWORD)
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Demo", app=app, owner=root)
    ExternalIdentity.objects.create(issuer=ISSUER, subject=SUBJECT, user=root)
    _, key = create_api_key(owner=root, label="robot", scopes=list(Action), accounts=[account])
    link = LoginLink.objects.issue(root)
    bearer = token(body=claims(scope="ticker:read ticker:stream"))
    spoiled = bearer[:-8] + "AAAAAAAA"

    ask = Reader()
    person, program = Client(raise_request_exception=False), Client(headers={"X-API-Key": key})
    program.raise_request_exception = False
    form = "application/x-www-form-urlencoded"
    ask(person, "POST", "/login/", data=f"username=root&password={PASSWORD}x", content_type=form)
    person.post("/login/", {"username": PASSWORD, "password": "x"})  # the form shows its own name field again
    ask(person, "GET", f"/login/link/{link}/")
    ask(Client(), "GET", f"/login/link/{link}/")
    ask(person, "POST", "/login/", data=f"username=root&password={PASSWORD}", content_type=form)

    base = f"/api/v1/trading-accounts/{account.public_id}"
    json = "application/json"
    with running_broker() as broker:
        settings.KITE_API_ROOT = settings.KITE_LOGIN_ROOT = broker.root
        opting = f'{{"password": "{KITE_PASSWORD}", "totp_seed": "{TOTP_SEED}", "accept_warning": %s}}'
        for word in ("false", "true", '"x"', "{"):
            ask(program, "PUT", f"{base}/automated-login", data=opting % word, content_type=json)
        ask(program, "PUT", f"{base}/app-secret", data=f'{{"api_secret": "{API_SECRET}"}}', content_type=json)
        ask(program, "PUT", f"{base}/app-secret", data=f'{{"api_secret": ["{API_SECRET}"]}}', content_type=json)
        # The broker refuses, breaks off, talks nonsense, and repeats what it was sent.
        request_token = f'{{"request_token": "{REQUEST_TOKEN}"}}'
        echo = {
            "status": "error",
            "message": f"checksum={API_SECRET}; request_token={REQUEST_TOKEN}",
            "error_type": "TokenException",
        }
        for answer in (
            Answer(echo, 403),
            Answer(echo, 500),
            Answer(f"<html>access_token={ACCESS_TOKEN}</html>".encode(), content_type="text/html"),
            Answer({"user_id": "ZZ9999", "access_token": ACCESS_TOKEN}),
            Answer({"user_id": "AB1234", "access_token": ACCESS_TOKEN}, cut_after=10),
            Answer({"user_id": "AB1234", "access_token": ACCESS_TOKEN}),
        ):
            broker.answer("POST /session/token", answer)
            ask(program, "PUT", f"{base}/session", data=request_token, content_type=json)
            with_state = f"/accounts/kite/callback/?status=success&state=x&request_token={REQUEST_TOKEN}"
            ask(person, "GET", with_state)
        broker.refuse("POST /api/login", 400, "InputException", f"password={KITE_PASSWORD} is wrong")
        ask(program, "PUT", f"{base}/session", data='{"automatic": true}', content_type=json)
        ask(program, "PUT", f"{base}/session", data=f'{{"access_token": "{ACCESS_TOKEN}"}}', content_type=json)
    ask(program, "PUT", f"{base}/session", data=request_token, content_type=json)  # nobody listens any more

    for text in (bearer, spoiled, bearer.replace("eyJ", "eyK", 1)):
        ask(Client(headers={"Authorization": f"Bearer {text}"}), "GET", "/api/v1/me")
    for text in (key, key[:-1] + "A"):
        ask(Client(headers={"X-API-Key": text}), "GET", "/api/v1/me")
        ask(Client(), "GET", f"/api/v1/me?api_key={text}")
    page = {"Origin": "http://testserver"}
    made = program.post("/api/v1/ws-tickets", "{}", content_type=json, headers=page).json()["ticket"]

    # An unexpected error on the way, with secrets in its message and in the frames of its traceback.
    def fails(*_: object, **__: object) -> None:
        raise LookupError(f"access_token={ACCESS_TOKEN} password={KITE_PASSWORD} {bearer} {key}")

    with monkeypatch.context() as patch:
        patch.setattr("accounts.trading_account_views.log_out", fails)
        assert ask(program, "DELETE", f"{base}/session") == HTTPStatus.INTERNAL_SERVER_ERROR

    for path in (
        "/api/v1/me",
        "/api/v1/trading-accounts",
        base,
        f"{base}/budget",
        "/metrics",
        "/health",
        "/api/schema/",
    ):
        ask(program if path.startswith("/api") else person, "GET", path)
    for model in apps.get_app_config("accounts").get_models():
        label = f"admin:accounts_{model._meta.model_name}"
        if not hasattr(model, "objects") or model._meta.model_name not in ADMIN_MODELS:
            continue
        ask(person, "GET", reverse(f"{label}_changelist"))
        for row in model.objects.all()[:50]:
            assert ask(person, "GET", reverse(f"{label}_change", args=[row.pk])) == HTTPStatus.OK
            ask(person, "GET", reverse(f"{label}_history", args=[row.pk]))
    # What a form is shown again with, after a mistake in another field.
    spoiled_form = f"label=&api_key=x&api_secret={API_SECRET}&password={KITE_PASSWORD}&totp_seed={TOTP_SEED}"
    ask(person, "POST", "/admin/accounts/kiteapp/add/", data=spoiled_form, content_type=form)
    ask(person, "POST", "/admin/accounts/tradingaccount/add/", data=spoiled_form, content_type=form)

    secrets = {
        "password": PASSWORD,
        "kite password": KITE_PASSWORD,
        "TOTP seed": TOTP_SEED,
        "API secret": API_SECRET,
        "access token": ACCESS_TOKEN,
        "request token": REQUEST_TOKEN,
        "API key": key[18:],
        "JWT": bearer.split(".")[2],
        "spoiled JWT": spoiled.split(".")[2],
        "login link": link,
        "ticket": made,
        "SECRET_KEY": django_settings.SECRET_KEY,
        "CREDENTIAL_KEYS": django_settings.CREDENTIAL_KEYS[0],
    }
    sinks = {
        "log": log.getvalue(),
        "answers": "\n".join(ask.read),
        "database": everything_in_the_database(),
        "Redis": everything_in_redis(),
        "audit": str(list(AuditEvent.objects.values())),
    }
    assert all(len(text) > 500 for name, text in sinks.items() if name != "Redis"), "each sink has something in it"
    found = [(name, where) for name, secret in secrets.items() for where, text in sinks.items() if secret in text]
    assert found == []


ADMIN_MODELS = {
    "kiteapp",
    "tradingaccount",
    "brokercredential",
    "brokersession",
    "apikey",
    "grant",
    "loginlink",
    "auditevent",
    "externalidentity",
}


def everything_in_the_database() -> str:
    connection.check_constraints()
    rows = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(table)))
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def everything_in_redis() -> str:
    found = []
    for number in range(4):
        with redis.Redis.from_url(django_settings.REDIS_URL.rsplit("/", 1)[0] + f"/{number}") as client:
            for name in client.scan_iter(count=1000):
                found.append(f"{name!r} {client.dump(name)!r}")
    return "\n".join(found)
