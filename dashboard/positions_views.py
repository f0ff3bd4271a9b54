"""The positions page: fetch, hand over to `positions`, render."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import accounts_for
from accounts.kept import kept
from accounts.models import TradingAccount
from accounts.principals import principal_of
from dashboard.account_views import frame
from dashboard.payoff import Payoff, payoffs_of
from dashboard.positions import group_of, totals_of
from market.calculator_views import years_until
from market.models import Instrument
from orders import portfolio
from orders.drift import Difference, drift
from orders.validation import IN_LOTS

DRIFT_KEPT_SECONDS: Final = 15


@require_safe
@never_cache
@login_required  # not `page_view`: who may read no account is told so by this page
def positions(request: HttpRequest) -> HttpResponse:
    """What the accounts that one may read have, at the prices of this moment. Asked by htmx, the board alone."""
    readable = list(accounts_for(principal_of(request), Action.READ).order_by("label"))
    context = frame("positions")
    if not readable:
        status = HTTPStatus.OK if request.user.is_superuser else HTTPStatus.FORBIDDEN
        return render(request, "dashboard/no_accounts.html", context, status=status)
    views = [(account, portfolio.positions(account)) for account in readable]
    instruments = _instruments(views)
    lots = _lot_sizes(instruments)
    context |= {
        "groups": [
            (group_of(account, view, lots, _differences(account)), _payoffs(view, instruments))
            for account, view in views
        ],
        "totals": totals_of([view for _, view in views]),
        "checked_at": clock.now(),
    }
    asked_by_htmx = request.headers.get("HX-Request") == "true"
    name = "dashboard/_positions.html" if asked_by_htmx else "dashboard/positions.html"
    return render(request, name, context)


def _differences(account: TradingAccount) -> list[Difference]:
    """Kept for a while: they come of readings some seconds apart, and to compare a day's takes longer than a poll."""
    return kept(f"drift:{account.pk}:{clock.today()}", lambda: drift(account), DRIFT_KEPT_SECONDS)


def _payoffs(view: portfolio.PortfolioView, instruments: Mapping[str, Instrument]) -> list[Payoff]:
    """None of positions of an earlier day: nobody knows whether they are still held."""
    if not view.is_of_today:
        return []
    return payoffs_of(view.positions, instruments, years_until, today=clock.today())


def _instruments(views: list[tuple[TradingAccount, portfolio.PortfolioView]]) -> dict[str, Instrument]:
    symbols = {f"{one.exchange}:{one.tradingsymbol}" for _, view in views for one in view.positions}
    return Instrument.objects.by_symbols(symbols)


def _lot_sizes(instruments: Mapping[str, Instrument]) -> dict[str, int]:
    return {symbol: 1 if one.exchange in IN_LOTS else one.lot_size or 1 for symbol, one in instruments.items()}
