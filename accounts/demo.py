"""The simulated broker's account in this service: an administrator, the account with its secrets, and an API key."""

import secrets
from dataclasses import dataclass

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.credentials import store_secret
from accounts.models import ApiKey, BrokerCredential, KiteApp, TradingAccount

ADMIN_USERNAME = "admin"
KEY_LABEL = "Demo: read, stream and trade"

# The simulator's own app and user; it shows them on its login page. They open nothing else.
DEMO_API_KEY, DEMO_API_SECRET = "simkey1", "simsecret1"
DEMO_USER_ID, DEMO_PASSWORD = "AB1234", "simulator"
DEMO_TOTP_SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
# Known beforehand, so that the simulator can be started with the address before there is a database.
DEMO_HOOK_SLUG = "simulated-broker"


@dataclass(frozen=True)
class Demo:
    """What `seed_demo` found or made. What is shown only once is None when it was there before."""

    account: TradingAccount
    admin: User
    admin_password: str | None
    api_key: str | None


@transaction.atomic
def seed_demo() -> Demo:
    """Make sure of everything the demo needs. Safe to repeat: what a person has changed since stays."""
    admin, admin_password = ensure_administrator()
    app, _ = KiteApp.objects.get_or_create(
        api_key=DEMO_API_KEY,
        defaults={"label": "Simulator", "redirect_url": getattr(settings, "SIMULATOR_REDIRECT_URL", "")},
    )
    KiteApp.objects.filter(pk=app.pk).update(hook_slug=DEMO_HOOK_SLUG)
    account, created = TradingAccount.objects.get_or_create(
        kite_user_id=DEMO_USER_ID,
        defaults={
            "label": "Demo",
            "app": app,
            "owner": admin,
            "is_data": True,
            "is_trading": True,
            "automated_login": True,
        },
    )
    if created:
        store_secret(app, BrokerCredential.Kind.API_SECRET, DEMO_API_SECRET)
        store_secret(account, BrokerCredential.Kind.PASSWORD, DEMO_PASSWORD)
        store_secret(account, BrokerCredential.Kind.TOTP_SEED, DEMO_TOTP_SEED)
    return Demo(account, admin, admin_password, _api_key(admin, account))


def ensure_administrator() -> tuple[User, str | None]:
    """The service's administrator, with the generated password if it was made just now."""
    existing = User.objects.filter(username=ADMIN_USERNAME).first()
    if existing is not None:
        return existing, None
    password = secrets.token_urlsafe(12)
    return User.objects.create_superuser(ADMIN_USERNAME, password=password), password


def _api_key(owner: User, account: TradingAccount) -> str | None:
    if ApiKey.objects.filter(owner=owner, label=KEY_LABEL).exists():
        return None
    _, text = create_api_key(
        owner=owner, label=KEY_LABEL, scopes=[Action.READ, Action.STREAM, Action.TRADE], accounts=[account]
    )
    return text
