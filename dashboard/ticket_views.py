"""What an open ticket asks: a contract's terms, its price of this moment, and contracts by a few words."""

import re
from http import HTTPStatus

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.actions import Action
from accounts.permissions import page_view
from dashboard.blotter import contract_words
from dashboard.ticket import contract_of, quote_of
from market import instrument_search
from market.exceptions import PricesUnavailable
from market.models import Instrument
from market.prices import price_of

MOST_FOUND = 12
LONGEST_TOKEN = 10
LONGEST_SEARCH = 40


@require_safe
@never_cache
@page_view(Action.TRADE)
def contract(request: HttpRequest) -> HttpResponse:
    """One contract, by its `token` or by `exchange` and `symbol`: its terms and its price now."""
    found = _instrument(request)
    if found is None:
        return JsonResponse({"error": "No such contract is listed."}, status=HTTPStatus.NOT_FOUND)
    try:
        price = price_of(found)
    except PricesUnavailable:
        price = None
    return JsonResponse({"contract": contract_of(found, today=clock.today()), "quote": quote_of(price)})


@require_safe
@never_cache
@page_view(Action.TRADE)
def search(request: HttpRequest) -> HttpResponse:
    """The contracts that are likeliest meant by `q`: `24600 ce` finds options."""
    text = request.GET.get("q", "")[:LONGEST_SEARCH].replace("\0", "").replace(",", "")
    if len(text.strip()) < 2:
        return JsonResponse({"found": []})
    today = clock.today()
    tradable = Instrument.objects.active().exclude(segment="INDICES").exclude(expiry__lt=today)
    likeliest = instrument_search.search(tradable, text)[:MOST_FOUND]
    rows = Instrument.objects.in_bulk(likeliest)
    found = [
        {"exchange": row.exchange, "symbol": row.tradingsymbol, "name": contract_words(row, today=today)}
        for row in (rows[key] for key in likeliest)
    ]
    return JsonResponse({"found": found})


def _instrument(request: HttpRequest) -> Instrument | None:
    token = request.GET.get("token", "")
    if re.fullmatch(rf"[0-9]{{1,{LONGEST_TOKEN}}}", token):
        return Instrument.objects.by_tokens([int(token)]).get(int(token))
    exchange, symbol = request.GET.get("exchange", "")[:10], request.GET.get("symbol", "")[:64]
    if "\0" in exchange + symbol:
        return None
    return Instrument.objects.active().filter(exchange=exchange, tradingsymbol=symbol).first()
