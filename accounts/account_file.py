"""Accounts from a YAML file or from environment variables: read, checked as a whole, and taken on all or none.

```yaml
accounts:
  - kite_user_id: AB1234
    label: Morning desk
    owner: asha                      # a user name; whoever --owner names, if not given
    is_data: true
    is_trading: true
    priority: 10
    app:
      api_key: ${KITE_API_KEY}
      api_secret: ${KITE_API_SECRET}
      redirect_url: https://desk.example.com/accounts/kite/callback/
    access_token: ${KITE_ACCESS_TOKEN}                              # optional: asked of the broker, then kept
    automated_login: {password: ..., totp_seed: ..., accept_warning: true}   # optional
```
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from django.contrib.auth.models import User
from django.db import transaction
from rest_framework import serializers

from accounts.automated_login import opt_in
from accounts.broker.login import accept_access_token
from accounts.exceptions import BrokerError, SessionMismatch
from accounts.models import TradingAccount
from accounts.serializers import StrictSerializer
from accounts.trading_account_serializers import AutomatedLoginSerializer, NewTradingAccountSerializer
from accounts.trading_accounts import AppDetails, add_account, change_account, ensure_app

MOST_BYTES = 1 << 20
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


class FileRefused(Exception):
    """The file cannot be used; `problems` says where and why, and never holds a value of it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one account. `login_failure` is why its access token was not taken over, if it was given."""

    account: TradingAccount
    is_new: bool
    login_failure: str = ""


class _AccountSerializer(NewTradingAccountSerializer):
    access_token = serializers.CharField(max_length=200, required=False)
    automated_login = AutomatedLoginSerializer(required=False)


class _FileSerializer(StrictSerializer):
    accounts = _AccountSerializer(many=True, allow_empty=False)


def read_file(path: Path, environment: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """The accounts of a YAML file, with every ``${VARIABLE}`` replaced.

    A variable's value stays a piece of text: whatever it holds, it cannot add keys to the file.

    Raises
    ------
    FileRefused
        With every problem found, by its place.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileRefused([f"{path} is larger than 1 MiB"])
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise FileRefused([f"{path} cannot be read: {exc.strerror}"]) from exc
    except UnicodeDecodeError:
        raise FileRefused([f"{path} is not UTF-8 text"]) from None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)  # the error's own text quotes the line, secrets and all
        where = f", line {mark.line + 1}" if mark else ""
        raise FileRefused([f"{path}{where} is not YAML"]) from None
    missing: set[str] = set()
    resolved = _resolved(document, environment, missing)
    if missing:
        raise FileRefused([f"the environment has no {name}" for name in sorted(missing)])
    return checked_accounts(resolved)


def read_environment(environment: Mapping[str, str] = os.environ) -> list[dict[str, Any]]:
    """One account of KITE_USER_ID, KITE_API_KEY, KITE_API_SECRET and, if set, KITE_ACCESS_TOKEN.

    Raises
    ------
    FileRefused
    """
    names = ("KITE_USER_ID", "KITE_API_KEY", "KITE_API_SECRET")
    if missing := [name for name in names if not environment.get(name)]:
        raise FileRefused([f"the environment has no {name}" for name in missing])
    user_id, api_key, api_secret = (environment[name] for name in names)
    account: dict[str, Any] = {
        "kite_user_id": user_id,
        "label": environment.get("KITE_ACCOUNT_LABEL") or user_id,
        "app": {"api_key": api_key, "api_secret": api_secret},
    }
    if token := environment.get("KITE_ACCESS_TOKEN"):
        account["access_token"] = token
    return checked_accounts({"accounts": [account]})


def import_accounts(accounts: list[dict[str, Any]], *, owner: User) -> list[Imported]:
    """Take on or change the accounts, all or none; then take over their access tokens, each for itself.

    What the file does not name of an account that exists stays as it is.

    Raises
    ------
    FileRefused
    """
    with transaction.atomic():
        imported = [_import(given, owner) for given in accounts]
    for position, given in enumerate(accounts):
        if token := given.get("access_token"):
            try:
                accept_access_token(imported[position].account, token)
            except (BrokerError, SessionMismatch) as exc:
                found = imported[position]
                imported[position] = Imported(found.account, found.is_new, login_failure=str(exc))
    return imported


def _import(given: dict[str, Any], owner: User) -> Imported:
    if username := given.get("owner"):
        named = User.objects.filter(username=username, is_active=True).first()
        if named is None:
            raise FileRefused([f"{given['kite_user_id']}: there is no active user {username!r}"])
        owner = named
    app = ensure_app(AppDetails(**given["app"]))
    account = TradingAccount.objects.filter(kite_user_id=given["kite_user_id"]).first()
    is_new = account is None
    details = {name: given[name] for name in ("label", "is_data", "is_trading", "data_failover", "priority")}
    if account is None:
        account = add_account(kite_user_id=given["kite_user_id"], app=app, owner=owner, **details)
    else:
        change_account(account, details | {"app": app})
    if secrets := given.get("automated_login"):
        opt_in(account, password=secrets["password"], totp_seed=secrets["totp_seed"])
    return Imported(account, is_new)


def checked_accounts(document: Any) -> list[dict[str, Any]]:
    """The accounts of a document, as `import_accounts` takes them. Raises FileRefused with every problem."""
    if not isinstance(document, dict):
        raise FileRefused(["the file has to begin with `accounts:` and a list"])
    form = _FileSerializer(data=document)
    if not form.is_valid():
        raise FileRefused(list(_problems(form.errors)))
    accounts: list[dict[str, Any]] = form.validated_data["accounts"]
    ids = [one["kite_user_id"] for one in accounts]
    if len(set(ids)) < len(ids):
        raise FileRefused(["a kite_user_id stands in it twice"])
    return accounts


def _problems(errors: Any, place: str = "") -> Iterator[str]:
    """Each error with its place; of a list the framework has the errors by position, from 0."""
    if not isinstance(errors, Mapping):
        yield from (f"{place}: {error}" for error in errors)
        return
    for name, inner in errors.items():
        if isinstance(name, int):
            own = f"{place} {name + 1}"
        elif name == "non_field_errors":
            own = place or "the file"
        else:
            own = f"{place}.{name}" if place else str(name)
        yield from _problems(inner, own)


def _resolved(node: Any, environment: Mapping[str, str], missing: set[str]) -> Any:
    if isinstance(node, dict):
        return {key: _resolved(value, environment, missing) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolved(value, environment, missing) for value in node]
    if not isinstance(node, str):
        return node
    missing.update(name for name in _VARIABLE.findall(node) if name not in environment)
    return _VARIABLE.sub(lambda found: environment.get(found[1], ""), node)
