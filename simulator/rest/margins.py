"""What orders would need and cost: nothing of it places one. The bodies are JSON."""

import json
from typing import Any

from aiohttp import web

from simulator.broker import BROKER
from simulator.logins import Access
from simulator.refusals import Refused
from simulator.rest.envelope import access_of, success
from simulator.trading import protection
from simulator.trading.charges import charges
from simulator.trading.desk import Desk
from simulator.trading.forms import rupees
from simulator.trading.funds import Need, Use, need, need_of_order
from simulator.trading.listings import Listing
from simulator.trading.terms import Terms, read_terms, read_variety

_MOST_ORDERS = 500
Asked = tuple[Terms, Listing, int]  # and its price in paise


async def of_orders(request: web.Request) -> web.Response:
    """`POST /margins/orders`: each by itself."""
    _, desk, asked = await _asked(request)
    return success(request, [_margin(desk, one, _need_of(one)) for one in asked])


async def of_basket(request: web.Request) -> web.Response:
    """`POST /margins/basket`: together, positions counted where asked for; what closes needs nothing."""
    access, desk, asked = await _asked(request)
    held: dict[tuple[str, str, str], int] = {}
    with_positions = request.query.get("consider_positions", "").lower() == "true"
    initial: list[dict[str, Any]] = []
    final: list[dict[str, Any]] = []
    for one in asked:
        terms, listing, price = one
        key = (terms.exchange, terms.tradingsymbol, terms.product)
        if key not in held:
            portfolio = desk.account_of(access).portfolio
            held[key] = portfolio.quantity_of(listing, terms.product) if with_positions else 0
        side, quantity = terms.transaction_type, terms.quantity
        needed = need_of_order(listing, terms.product, side, quantity, price, held[key])
        held[key] += side.sign * quantity
        initial.append(_margin(desk, one, _need_of(one)))
        final.append(_margin(desk, one, needed))
    totals = {"initial": _sum(initial), "final": _sum(final)}
    return success(request, totals | {"orders": initial, "charges": _sum(initial)["charges"]})


async def contract_note(request: web.Request) -> web.Response:
    """`POST /charges/orders`: taxes, fees and brokerage of orders at their average prices."""
    _, _, asked = await _asked(request, price_field="average_price")
    return success(
        request,
        [
            {
                "transaction_type": terms.transaction_type.value,
                "tradingsymbol": terms.tradingsymbol,
                "exchange": terms.exchange,
                "variety": terms.variety.value,
                "product": terms.product.value,
                "order_type": terms.order_type.value,
                "quantity": terms.quantity,
                "price": rupees(price),
                "charges": charges(listing, terms.product, terms.transaction_type, terms.quantity, price),
            }
            for terms, listing, price in asked
        ],
    )


async def _asked(request: web.Request, price_field: str = "price") -> tuple[Access, Desk, list[Asked]]:
    access, desk = access_of(request), request.app[BROKER].desk
    try:
        body = json.loads(await request.read())
    except (ValueError, RecursionError):
        raise Refused.input("Invalid JSON in the request body.") from None
    if not isinstance(body, list) or len(body) > _MOST_ORDERS or not all(isinstance(one, dict) for one in body):
        raise Refused.input(f"Expected a list of at most {_MOST_ORDERS} orders.")
    return access, desk, [_read(desk, one, price_field) for one in body]


def _read(desk: Desk, one: dict[str, Any], price_field: str) -> Asked:
    given = {name: value for name, value in one.items() if value is not None}
    form = given | {"price": given.get(price_field, "")}
    terms = read_terms(read_variety(str(given.get("variety", "regular"))), form)
    listing = desk.listings.find(terms.exchange, terms.tradingsymbol)
    if listing is None:
        raise Refused.input("The instrument has either expired or does not exist.")
    if price_field != "price" and not terms.price:
        raise Refused.input(f"Missing or empty field `{price_field}`")
    return terms, listing, terms.price or protection.limit_of(terms, listing, 0) or desk.listings.last_price(listing)


def _need_of(asked: Asked) -> Need:
    terms, listing, price = asked
    return need(listing, terms.product, terms.transaction_type, terms.quantity, price)


def _margin(desk: Desk, asked: Asked, needed: Need) -> dict[str, Any]:
    terms, listing, price = asked
    total = sum(needed.values())
    worth = terms.quantity * price
    cost = charges(listing, terms.product, terms.transaction_type, terms.quantity, price)
    is_share = not listing.is_derivative
    return {
        "type": "equity",
        "tradingsymbol": terms.tradingsymbol,
        "exchange": terms.exchange,
        "span": 0 if is_share else rupees(needed.get(Use.SPAN, 0)),
        "exposure": rupees(needed.get(Use.EXPOSURE, 0)),
        "option_premium": rupees(needed.get(Use.OPTION_PREMIUM, 0)),
        "additional": 0,
        "bo": 0,
        "cash": 0,
        "var": rupees(needed.get(Use.DELIVERY, 0) + needed.get(Use.SPAN, 0)) if is_share else 0,
        "pnl": {"realised": 0, "unrealised": 0},
        "leverage": round(worth / total, 2) if is_share and total else 1,
        "charges": cost,
        "total": rupees(total),
    }


def _sum(margins: list[dict[str, Any]]) -> dict[str, Any]:
    names = ("span", "exposure", "option_premium", "additional", "bo", "cash", "var", "total")
    summed = {name: round(sum(margin[name] for margin in margins), 2) for name in names}
    pnl = {"realised": 0, "unrealised": 0}
    empty = {"type": "equity", "tradingsymbol": "", "exchange": "", "pnl": pnl, "leverage": 0}
    return {**empty, **summed, "charges": _sum_of_charges([margin["charges"] for margin in margins])}


def _sum_of_charges(parts: list[dict[str, Any]]) -> dict[str, Any]:
    names = (
        "transaction_tax", "exchange_turnover_charge", "sebi_turnover_charge", "brokerage", "stamp_duty", "total",
    )  # fmt: skip
    gst = {name: round(sum(part["gst"][name] for part in parts), 4) for name in ("igst", "cgst", "sgst", "total")}
    summed = {name: round(sum(part[name] for part in parts), 4) for name in names}
    return {**summed, "transaction_tax_type": "stt", "gst": gst}


def setup(app: web.Application) -> None:
    app.router.add_post("/margins/orders", of_orders)
    app.router.add_post("/margins/basket", of_basket)
    app.router.add_post("/charges/orders", contract_note)
