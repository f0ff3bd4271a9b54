"""Taking on an account and its app, whoever does it: the REST interface, the importing command, the admin's forms."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction

from accounts.account_states import record_state
from accounts.audit import Kind as Event
from accounts.audit import record
from accounts.credentials import Kind, store_secret
from accounts.exceptions import Refused
from accounts.models import KiteApp, TradingAccount


class AccountExists(Refused):
    """There is an account of that Kite user id already; whose, is nobody's business."""

    status_code = 409
    code = "account_exists"
    default_message = "There is an account of this Kite user id already."


class AppUnknown(Refused):
    """No app of that API key, and nothing to make one with."""

    code = "app_unknown"
    default_message = "No app of this API key is known here: give its API secret too."


@dataclass(frozen=True, slots=True)
class AppDetails:
    """An app as its developer console shows it. None leaves what is stored as it is."""

    api_key: str
    api_secret: str | None = None
    label: str | None = None
    redirect_url: str | None = None
    postback_url: str | None = None


@transaction.atomic
def ensure_app(details: AppDetails) -> KiteApp:
    """The app of this API key, made if there is none, with what is given written over what is stored.

    Raises
    ------
    AppUnknown
        There is none, and without its secret it would be of no use.
    """
    app = KiteApp.objects.select_for_update().filter(api_key=details.api_key).first()
    if app is None:
        if not details.api_secret:
            raise AppUnknown
        app = KiteApp(api_key=details.api_key, label=f"App …{details.api_key[-4:]}")
    for name in ("label", "redirect_url", "postback_url"):
        if (value := getattr(details, name)) is not None:
            setattr(app, name, value)
    app.full_clean()
    app.save()
    if details.api_secret:
        store_secret(app, Kind.API_SECRET, details.api_secret)
    return app


@transaction.atomic
def add_account(
    *,
    kite_user_id: str,
    label: str,
    app: KiteApp,
    owner: User,
    is_data: bool = True,
    data_failover: bool = False,
    is_trading: bool = False,
    priority: int = 100,
) -> TradingAccount:
    """Take on one user of the broker.

    Raises
    ------
    AccountExists
    """
    account = TradingAccount(
        kite_user_id=kite_user_id,
        label=label,
        app=app,
        owner=owner,
        is_data=is_data,
        data_failover=data_failover,
        is_trading=is_trading,
        priority=priority,
    )
    account.full_clean(validate_unique=False)
    try:
        with transaction.atomic():
            account.save()
    except IntegrityError as exc:
        raise AccountExists from exc
    record(Event.ACCOUNT_ADDED, account=kite_user_id, label=label, owner=owner.get_username(), app=app.label)
    return account


@transaction.atomic
def change_account(account: TradingAccount, changes: Mapping[str, Any]) -> None:
    """Write these fields of the account, and into the audit which of them became what."""
    changed = {name: value for name, value in changes.items() if getattr(account, name) != value}
    for name, value in changed.items():
        setattr(account, name, value)
    account.save(update_fields=list(changes))
    if "state" in changed:
        record_state(account, TradingAccount.State(changed.pop("state")))
    if changed:
        record(Event.ACCOUNT_CHANGED, account=account.kite_user_id, changed=changed)
