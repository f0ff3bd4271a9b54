"""Our answers about orders, member by member beside the broker's recorded ones."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect

from simulator.tests.schemas import violations

ROUTES = {
    "/orders": "orders",
    "/trades": "trades",
    "/portfolio/positions": "positions",
    "/portfolio/holdings": "holdings",
    "/user/margins": "margins",
    "/user/margins/equity": "margins_segment",
}
# In one recorded order only: who gave it by a terminal.
_NOT_OURS = {"terminal_id"}


def ask(kite: KiteConnect, method: str, path: str, **more: Any) -> Any:
    headers = {"Authorization": f"token {kite.api_key}:{kite.access_token}", "X-Kite-Version": "3"}
    return requests.request(method, kite.root + path, headers=headers, timeout=5, **more).json()


@pytest.fixture
def busy(trader: KiteConnect) -> KiteConnect:
    """A user who has traded, and has one order of most kinds."""
    common = {"exchange": "NSE", "tradingsymbol": "INFY", "quantity": 10}
    buy = {**common, "transaction_type": "BUY", "product": "CNC", "tag": "strategy 1"}
    protected = {"order_type": "MARKET", "market_protection": -1}
    trader.place_order("regular", **buy, **protected)
    trader.place_order("regular", **common, transaction_type="SELL", product="MIS", **protected)
    trader.place_order("regular", **buy, order_type="LIMIT", price=1500, validity="TTL", validity_ttl=3)
    trader.place_order("iceberg", **buy, order_type="LIMIT", price=1500, iceberg_legs=2, iceberg_quantity=5)
    trader.place_order("co", **common, transaction_type="BUY", product="MIS", trigger_price=1550, **protected)
    trader.place_order("regular", **(buy | {"quantity": 100_000}), **protected)  # no money for that
    return trader


@pytest.mark.parametrize(("path", "schema"), ROUTES.items())
def test_an_answer_about_orders_fits_our_schema(busy: KiteConnect, path: str, schema: str) -> None:
    answer = ask(busy, "GET", path)
    assert answer["data"]
    assert violations(schema, answer) == []


def test_an_orders_history_and_trades_fit_our_schemas(busy: KiteConnect) -> None:
    order_id = busy.orders()[0]["order_id"]
    assert violations("orders", ask(busy, "GET", f"/orders/{order_id}")) == []
    assert violations("trades", ask(busy, "GET", f"/orders/{order_id}/trades")) == []


def test_answers_to_placing_modifying_and_cancelling_fit_our_schema(trader: KiteConnect) -> None:
    form = {
        "exchange": "NFO", "tradingsymbol": "NIFTY26D0126000CE", "transaction_type": "BUY", "order_type": "LIMIT",
        "price": "5", "product": "NRML", "quantity": 65,
    }  # fmt: skip
    placed = ask(trader, "POST", "/orders/regular", data=form)
    path = f"/orders/regular/{placed['data']['order_id']}"
    sliced = ask(trader, "POST", "/orders/regular", data=form | {"autoslice": "true", "quantity": 65 * 30})
    changed = ask(trader, "PUT", path, data={"price": "6"})
    cancelled = ask(trader, "DELETE", path)
    for answer in (placed, sliced, changed, cancelled):
        assert violations("order_placed", answer) == []
    assert len(sliced["data"]["children"]) == 2


@pytest.mark.parametrize(
    ("file", "path"),
    [
        ("orders.json", "/orders"),
        ("trades.json", "/trades"),
        ("positions.json", "/portfolio/positions"),
        ("holdings.json", "/portfolio/holdings"),
        ("margins.json", "/user/margins"),
    ],
)
def test_our_members_and_their_types_are_the_recorded_ones(
    recordings: Path, busy: KiteConnect, file: str, path: str
) -> None:
    recorded = types_of(json.loads((recordings / file).read_text(encoding="utf-8")))
    ours = types_of(ask(busy, "GET", path))
    assert {name for name in recorded if name.split(".")[-1] not in _NOT_OURS} - ours.keys() == set()
    assert ours.keys() - recorded.keys() == set()
    strange = {name: (kinds, recorded[name]) for name, kinds in ours.items() if not _fit(kinds, recorded[name])}
    assert strange == {}


def types_of(body: Any) -> dict[str, set[str]]:
    """The types that each member has, over all elements of a list."""
    found: dict[str, set[str]] = {}
    for name, value in _members("", body):
        found.setdefault(name, set()).add(value)
    return found


def _members(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        yield name, "object"
        for key, member in value.items():
            yield from _members(f"{name}.{key}", member)
    elif isinstance(value, list):
        yield name, "list"
        for element in value:
            yield from _members(f"{name}[]", element)
    elif isinstance(value, bool):
        yield name, "boolean"
    elif isinstance(value, int | float):
        yield name, "number"
    else:
        yield name, "null" if value is None else "text"


def _fit(ours: set[str], recorded: set[str]) -> bool:
    """A recording may show only the empty or only the filled form of a member that has both."""
    return not (ours - {"null"}) or not (recorded - {"null"}) or ours - {"null"} == recorded - {"null"}
