"""Positions and holdings."""

from aiohttp import web

from simulator.broker import BROKER
from simulator.refusals import Refused
from simulator.rest.book_views import view_of
from simulator.rest.envelope import access_of, form_of, success
from simulator.trading.terms import ASKABLE_PRODUCTS, MOST_UNITS, Product, Side


async def positions(request: web.Request) -> web.Response:
    """`GET /portfolio/positions`: `net`, carried and today's, and `day`, today's trades alone."""
    access, desk = access_of(request), request.app[BROKER].desk
    portfolio = view_of(request).portfolio(desk.account_of(access))
    return success(request, portfolio.rows(desk.listings.last_price, desk.listings.close_price))


async def convert(request: web.Request) -> web.Response:
    """`PUT /portfolio/positions`: part of a position becomes another product. Done twice, it is done twice."""
    access, desk = access_of(request, bucket=None), request.app[BROKER].desk
    desk.count_request(access)
    form = {name: str(value).strip() for name, value in (await form_of(request)).items()}
    names = "exchange tradingsymbol transaction_type position_type quantity old_product new_product"
    if missing := [name for name in names.split() if not form.get(name)]:
        raise Refused.input(f"Missing or empty field `{missing[0]}`")
    if (listing := desk.listings.find(form["exchange"], form["tradingsymbol"])) is None:
        raise Refused.input("The instrument has either expired or does not exist.")
    if form["position_type"] not in {"day", "overnight"}:
        raise Refused.input("Invalid `position_type`.")
    if form["transaction_type"] not in list(Side):
        raise Refused.input("Invalid `transaction_type`.")
    desk.convert(
        access,
        listing,
        _product(form, "old_product"),
        _product(form, "new_product"),
        Side(form["transaction_type"]),
        _quantity(form["quantity"]),
        overnight=form["position_type"] == "overnight",
    )
    return success(request, True)


def _product(form: dict[str, str], name: str) -> Product:
    if form[name] not in list(ASKABLE_PRODUCTS):
        raise Refused.input(f"Invalid `{name}`.")
    return Product(form[name])


def _quantity(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 0 < int(text) <= MOST_UNITS):
        raise Refused.input("Invalid `quantity`.")
    return int(text)


async def holdings(request: web.Request) -> web.Response:
    """`GET /portfolio/holdings`."""
    access, broker = access_of(request), request.app[BROKER]
    listings, portfolio = broker.desk.listings, view_of(request).portfolio(broker.desk.account_of(access))
    day = f"{broker.market.day:%Y-%m-%d}"
    return success(request, list(portfolio.holding_rows(listings.last_price, listings.close_price, day)))


async def auctions(request: web.Request) -> web.Response:
    """`GET /portfolio/holdings/auctions`: nobody failed to deliver here, so that nothing is auctioned."""
    access_of(request)
    return success(request, [])


def setup(app: web.Application) -> None:
    app.router.add_get("/portfolio/positions", positions)
    app.router.add_put("/portfolio/positions", convert)
    app.router.add_get("/portfolio/holdings", holdings)
    app.router.add_get("/portfolio/holdings/auctions", auctions)
