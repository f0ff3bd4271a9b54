"""What Django tells by signals, written down in the audit: logins, grants however they change, and the admin's doings.

Grants and the admin's rows are written by code that is not ours (forms, inlines, other apps' admins), so the signal is
the one place that sees all of it.
"""

import contextlib
from typing import Any

from django.contrib.admin.models import ADDITION, DELETION, LogEntry
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.contrib.sessions.models import Session
from django.db.models import Model
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from accounts.addresses import client_address
from accounts.audit import ADMIN, NOBODY, Actor, Kind, acting_in, record, record_refusal
from accounts.guesses import TooManyTries, note_wrong
from accounts.models import ApiKey, ExternalIdentity, Grant, TradingAccount


@receiver(user_logged_in)
def logged_in(user: User, **_: Any) -> None:
    record(Kind.PERSON_LOGGED_IN, actor=_person(user))


@receiver(user_logged_out)
def logged_out(user: User | None, **_: Any) -> None:
    if user is not None:
        record(Kind.PERSON_LOGGED_OUT, actor=_person(user))


@receiver(user_login_failed)
def login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_: Any) -> None:
    # People type their password into the wrong field: only a name that somebody has is written down.
    tried = str(credentials.get("username") or "")[:150]
    known = "\0" not in tried and User.objects.filter(username=tried).exists()
    record_refusal(Kind.PERSON_REFUSED, actor=NOBODY, way="password", username=tried if known else "(unknown)")
    if request is not None:
        with contextlib.suppress(TooManyTries):  # the form says that it was wrong; the next one is not looked at
            note_wrong(client_address(request.META))


@receiver(post_save, sender=Grant)
def grant_given(instance: Grant, raw: bool, **_: Any) -> None:
    if not raw:
        record(Kind.GRANT_GIVEN, account=instance.account.kite_user_id, **_grant(instance))


@receiver(post_delete, sender=Grant)
def grant_taken(instance: Grant, **_: Any) -> None:
    record(Kind.GRANT_TAKEN, account=instance.account.kite_user_id, **_grant(instance))


@receiver(post_save, sender=ExternalIdentity)
def identity_linked(instance: ExternalIdentity, raw: bool, **_: Any) -> None:
    if not raw:
        record(Kind.IDENTITY_LINKED, **_identity(instance))


@receiver(post_delete, sender=ExternalIdentity)
def identity_unlinked(instance: ExternalIdentity, **_: Any) -> None:
    record(Kind.IDENTITY_UNLINKED, **_identity(instance))


@receiver(m2m_changed, sender=ApiKey.accounts.through)
def key_accounts_changed(instance: ApiKey | TradingAccount, action: str, pk_set: set[int] | None, **_: Any) -> None:
    if action not in {"post_add", "post_remove", "post_clear"} or pk_set == set():
        return
    change = action.removeprefix("post_")
    if isinstance(instance, ApiKey):
        accounts = TradingAccount.objects.filter(pk__in=pk_set or ()).values_list("kite_user_id", flat=True)
        record(Kind.KEY_ACCOUNTS, key_id=instance.key_id, change=change, accounts=list(accounts))
    else:  # from the account's side
        keys = ApiKey.objects.filter(pk__in=pk_set or ()).values_list("key_id", flat=True)
        record(Kind.KEY_ACCOUNTS, account=instance.kite_user_id, change=change, keys=list(keys))


@receiver(post_save, sender=LogEntry)
def admin_changed(instance: LogEntry, raw: bool, **_: Any) -> None:
    if raw or instance.action_flag == DELETION:  # deletions are told below, those of many rows too
        return
    record(
        Kind.ADMIN_CHANGED,
        what="added" if instance.action_flag == ADDITION else "changed",
        model=f"{instance.content_type.app_label}.{instance.content_type.model}" if instance.content_type else "",
        pk=instance.object_id,
        name=instance.object_repr,
        change=instance.get_change_message(),
    )


@receiver(post_delete)
def admin_deleted(sender: type[Model], instance: Model, **_: Any) -> None:
    """Of every model, whoever's admin it is: the admin's own log is no signal when many rows are deleted."""
    if acting_in() == ADMIN and sender not in (LogEntry, Session):
        record(Kind.ADMIN_DELETED, model=sender._meta.label_lower, pk=str(instance.pk), name=str(instance))


def _person(user: User) -> Actor:
    return Actor(f"user:{user.pk}", user.get_username())


def _identity(identity: ExternalIdentity) -> dict[str, Any]:
    return {"issuer": identity.issuer, "subject": identity.subject, "user": f"user:{identity.user_id}"}


def _grant(grant: Grant) -> dict[str, Any]:
    to = f"user:{grant.user_id}" if grant.user_id else f"apikey:{grant.api_key.key_id}" if grant.api_key else ""
    return {"to": to, "action": grant.action}
