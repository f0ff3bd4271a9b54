"""The calendar page: fetch, hand over to `month`, render."""

from functools import partial

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.actions import Action
from accounts.permissions import page_view
from dashboard.account_views import frame
from dashboard.month import month_named, month_of
from dashboard.views import DEFAULT_EXCHANGE
from market import calendar


@require_safe
@never_cache
@page_view(Action.READ)
def month(request: HttpRequest) -> HttpResponse:
    """One month of one market (`?exchange=NFO&month=2026-12`): when it is open, when not, and what nobody has said."""
    today = clock.today()
    exchange = request.GET.get("exchange", DEFAULT_EXCHANGE)
    first = month_named(request.GET.get("month", f"{today:%Y-%m}"))
    if exchange not in calendar.SEGMENTS or first is None:
        raise Http404("There is no such month or market.")
    segment = calendar.SEGMENTS[exchange]
    context = frame("calendar") | {
        "month": month_of(first, partial(calendar.current().day_of, exchange, segment), today=today),
        "market": exchange,
        "segment": segment,
        "markets": list(calendar.SEGMENTS.items()),
        "today": today,
    }
    return render(request, "dashboard/calendar.html", context)
