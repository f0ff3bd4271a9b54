"""What every page's frame needs: the links that exist for its user."""

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

# Name in a template → route. A route that this installation does not have is left out of the page.
LINKS = {
    "positions_url": "dashboard:positions",
    "accounts_url": "dashboard:accounts",
    "keys_url": "dashboard:keys",
    "docs_url": "docs",
    "admin_url": "admin:index",
    "add_account_url": "admin:accounts_tradingaccount_add",
    "subscribe_url": "admin:streaming_subscription_add",
    "logout_url": "accounts:logout",
}


def links(_request: HttpRequest | None = None) -> dict[str, Any]:
    """Addresses by their name in the templates; also usable as a context processor."""
    found = {}
    for name, route in LINKS.items():
        try:
            found[name] = reverse(route)
        except NoReverseMatch:
            continue
    return found
