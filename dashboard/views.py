"""The pages' edge: fetch, hand over to `chain`, render."""

import time
from datetime import date

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.gzip import gzip_page
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.actions import Action
from accounts.permissions import page_view
from dashboard.chain import Chain, Contract, MarketSession, chain_page, market_session
from dashboard.shell import links
from market import calendar
from market.exceptions import CalendarMissing
from market.latest import latest
from market.models import Instrument
from market.names import part_of
from streaming.models import Subscription

LAST_CHAIN = "last_chain"
DEFAULT_EXCHANGE = "NFO"


@require_safe
@never_cache
@page_view(Action.STREAM)
def home(request: HttpRequest) -> HttpResponse:
    """The chain that was looked at last, else the first one that is followed, else how to follow one."""
    followed = followed_chains()
    if not followed:
        context = {
            "session": session_of(DEFAULT_EXCHANGE),
            "exchange": DEFAULT_EXCHANGE,
            "source": settings.FEED_SOURCE,
        }
        context |= links()
        return render(request, "dashboard/empty.html", context)
    last = request.session.get(LAST_CHAIN)
    chosen = next((chain for chain in followed if [chain.underlying, chain.expiry.isoformat()] == last), followed[0])
    return redirect("dashboard:chain", chosen.underlying, chosen.expiry)


@require_safe
@never_cache
@gzip_page  # a long chain is 270 KB of much the same
@page_view(Action.STREAM)
def chain(request: HttpRequest, underlying: str, expiry: date) -> HttpResponse:
    """One live option chain: its followed strikes and their last snapshot; the page's socket goes on from there."""
    instruments = list(Instrument.objects.chain(underlying, expiry))
    if not instruments:
        raise Http404(f"No options of {underlying} expire on {expiry}.")
    followed = followed_chains()
    shown = Chain(underlying, expiry, instruments[0].exchange)
    contracts = []
    if shown in followed:
        subscribed = set(
            Subscription.objects.active()
            .filter(instrument__name=underlying, instrument__expiry=expiry)
            .values_list("instrument__instrument_token", flat=True)
        )
        contracts = [
            Contract(float(option.strike), option.instrument_type == "CE", option.instrument_token, option.lot_size)
            for option in instruments
            if option.instrument_token in subscribed
        ]
        if request.session.get(LAST_CHAIN) != [underlying, expiry.isoformat()]:
            request.session[LAST_CHAIN] = [underlying, expiry.isoformat()]
    options, cash = latest(part_of(underlying, expiry), part_of(underlying, None)) if contracts else (None, None)
    page = chain_page(
        shown,
        contracts,
        followed=followed,
        today=clock.today(),
        now=time.time(),
        source=settings.FEED_SOURCE,
        options=options,
        underlying=cash,
    )
    context = {
        "page": page,
        "session": session_of(shown.exchange),
        "exchange": shown.exchange,
        "source": page.source,
        **links(),
        "stale_ms": int(settings.STREAM_STALE_SECONDS * 1000),
        "slow_ms": int(settings.STREAM_STALE_SECONDS * 400),
    }
    return render(request, "dashboard/chain.html", context)


@require_safe
@never_cache
@page_view(Action.STREAM)
def session(request: HttpRequest, exchange: str) -> HttpResponse:
    """Market time and the exchange's session, asked by open pages now and then."""
    return JsonResponse(session_of(exchange).as_json())


def session_of(exchange: str) -> MarketSession:
    """The exchange's session that is going on or comes next. Nothing is known of it where the calendar has no rows."""
    now = clock.now()
    segment = calendar.SEGMENTS.get(exchange)
    if segment is None:
        raise Http404(f"No market is called {exchange}.")
    try:
        coming = calendar.current().next_session(exchange, segment, now)
    except CalendarMissing:
        coming = None
    return market_session(
        system_now=time.time(),
        market_now=now,
        speed=settings.MARKET_CLOCK_SPEED if settings.MARKET_CLOCK != "real" else 1.0,
        opens_at=coming.opens_at if coming else None,
        closes_at=coming.closes_at if coming else None,
    )


def followed_chains() -> list[Chain]:
    """Every chain of which some option is streamed, NIFTY first, then by name and expiry."""
    rows = (
        Subscription.objects.streamable_on(clock.today())
        .filter(instrument__strike__gt=0)
        .values_list("instrument__name", "instrument__expiry", "instrument__exchange")
        .distinct()
        .order_by()
    )
    chains = [Chain(name, expiry, exchange) for name, expiry, exchange in rows if expiry is not None]
    return sorted(chains, key=lambda chain: (chain.underlying != "NIFTY", chain.underlying, chain.expiry))
