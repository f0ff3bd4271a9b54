"""The feed's health: look, hand over to `feed`, render. The page's socket goes on from there."""

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts.actions import Action
from accounts.authorisation import accounts_for
from accounts.models import TradingAccount
from accounts.permissions import page_view
from accounts.principals import principal_of
from dashboard.account_views import frame as page_frame
from dashboard.feed import page_of
from streaming.health_frame import frame_of
from streaming.health_reading import take_reading


@require_safe
@never_cache
@page_view(Action.READ)
def feed(request: HttpRequest) -> HttpResponse:
    """How the feed is, and all that it depends on: what is open to the reader by name, the rest without."""
    principal = principal_of(request)
    mine = list(accounts_for(principal, Action.READ).values_list("kite_user_id", flat=True))
    administered = accounts_for(principal, Action.ADMIN).filter(state=TradingAccount.State.ENABLED)
    told = frame_of(take_reading(), mine=mine, stale_seconds=settings.STREAM_STALE_SECONDS)
    needing = [row["account"] for row in told["accounts"] if row["needs_login"]]
    context = page_frame("feed") | {
        "page": page_of(told),
        # The page shows the first of these that needs a login, now or later.
        "logins": [(account, account.kite_user_id in needing) for account in administered.order_by("kite_user_id")],
        "stale_ms": int(settings.STREAM_STALE_SECONDS * 1000),
        "slow_ms": int(settings.STREAM_STALE_SECONDS * 400),
    }
    return render(request, "dashboard/feed.html", context)
