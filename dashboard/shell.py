"""What every page's frame needs: the links that exist for its user."""

from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.functional import SimpleLazyObject

from accounts.principals import principal_of
from dashboard.trading import trading_of

# Name in a template → route. A route that this installation does not have is left out of the page.
LINKS = {
    "orders_url": "dashboard:orders",
    "positions_url": "dashboard:positions",
    "trading_url": "dashboard:trading",
    "accounts_url": "dashboard:accounts",
    "feed_url": "dashboard:feed",
    "calendar_url": "dashboard:calendar",
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


def trading(request: HttpRequest) -> dict[str, Any]:
    """A context processor: what every page says of trading. It asks nothing until a template does."""
    return {"trading": SimpleLazyObject(lambda: trading_of(principal_of(request)))}
