"""At least twenty keys that look like one or try to be one. None is accepted, and all are answered alike."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key
from accounts.audit_events import AuditEvent
from accounts.exceptions import NotAuthenticated
from accounts.models import ApiKey, TradingAccount

ME = "/api/v1/me"


@pytest.fixture
def good(asha: User, account: TradingAccount) -> str:
    return create_api_key(owner=asha, label="robot", scopes=[Action.READ], accounts=[account])[1]


def other_case(text: str) -> str:
    return text[:18] + text[18:].swapcase()


HOSTILE: dict[str, Callable[[str], str]] = {
    "empty": lambda good: "",
    "only the beginning": lambda good: "kts_",
    "only the id": lambda good: good[:17],
    "without its last letter": lambda good: good[:-1],
    "with one letter more": lambda good: good + "A",
    "last letter changed": lambda good: good[:-1] + ("A" if good[-1] != "A" else "B"),
    "secret of zeros": lambda good: good[:18] + "0" * 43,
    "secret in the other case": other_case,
    "secret reversed": lambda good: good[:18] + good[18:][::-1],
    "unknown id": lambda good: good[:9] + "zzzzzzzz" + good[17:],
    "id in capitals": lambda good: good[:9] + good[9:17].upper() + good[17:],
    "another environment": lambda good: good.replace("kts_test_", "kts_production_"),
    "no environment": lambda good: good.replace("kts_test_", "kts__"),
    "another prefix": lambda good: good.replace("kts_", "sk_"),
    "twice": lambda good: good + good,
    "two with a comma": lambda good: f"{good}, {good}",
    "two with a space": lambda good: f"{good} {good}",
    "in quotes": lambda good: f'"{good}"',
    "as a bearer": lambda good: f"Bearer {good}",
    "a wildcard": lambda good: good[:18] + "%" * 43,
    "SQL": lambda good: good[:18] + "' OR '1'='1" + "A" * 32,
    "the digest": lambda good: ApiKey.objects.get().digest,
    "the id and the digest": lambda good: good[:18] + ApiKey.objects.get().digest[:43],
    "wide letters": lambda good: good.replace("kts", "ｋｔｓ"),
    "wide digits in the id": lambda good: good[:9] + "１２３４５６７８" + good[17:],
    "a format": lambda good: "kts_test_{0.key_id}_" + "A" * 43,
    "a hundred thousand letters": lambda good: good + "A" * 100_000,
    "JSON": lambda good: '{"key_id": {"$ne": ""}}',
    "a path": lambda good: "../" * 20 + good,
}
OUT_OF_USE: dict[str, dict[str, Any]] = {
    "revoked": {"revoked_at": timezone.now()},
    "expired": {"expires_at": timezone.now()},
    "expired long ago": {
        "created_at": timezone.now() - timedelta(days=80),
        "expires_at": timezone.now() - timedelta(days=70),
    },
    "from elsewhere": {"networks": ["192.168.0.0/16"]},
    "from elsewhere, of the new kind": {"networks": ["2001:db8::/32"]},
}


def test_the_hostile_keys_are_many() -> None:
    assert len(HOSTILE) + len(OUT_OF_USE) >= 20


def refusal(client: Client, text: str) -> dict[str, Any]:
    response = client.get(ME, headers={"X-API-Key": text.encode().decode("latin-1")})
    assert response.status_code == 401
    error = response.json()["error"]
    return {name: value for name, value in error.items() if name not in {"request_id", "timestamp"}}


SAID = {"code": "authentication_failed", "message": "This API key is not valid.", "details": {}}


@pytest.mark.parametrize("name", HOSTILE)
def test_f78_a_hostile_key_is_nobody_and_learns_nothing(good: str, client: Client, name: str) -> None:
    text = HOSTILE[name](good)
    with pytest.raises(NotAuthenticated):
        check_api_key(text, address="10.0.0.1")
    assert refusal(client, text) == SAID
    details = str(list(AuditEvent.objects.filter(kind="key.refused").values_list("details", flat=True)))
    assert good[18:] not in details


@pytest.mark.parametrize("name", OUT_OF_USE)
def test_f78_a_key_out_of_use_is_answered_like_a_made_up_one(good: str, client: Client, name: str) -> None:
    ApiKey.objects.update(**OUT_OF_USE[name])
    assert refusal(client, good) == SAID


def test_f78_a_key_ends_with_its_owner(good: str, client: Client) -> None:
    User.objects.update(is_active=False)
    assert refusal(client, good) == SAID
