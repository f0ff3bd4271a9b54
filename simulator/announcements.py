"""Tells users and apps what becomes of orders: text frames to all sockets of the user, postbacks to the app."""

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any

from aiohttp import web

from simulator.broker import BROKER, Broker
from simulator.delivery import Deliver, Deliveries, Forge, Way
from simulator.feed import FEED, Feed
from simulator.options import DemoApp
from simulator.postbacks import Postbacks, postback_checksum
from simulator.trading.lifecycle import UPDATE
from simulator.trading.orders import Order, Status

_FIRST_APP_ID = 1_001
_POSTED = frozenset({UPDATE, Status.COMPLETE, Status.CANCELLED, Status.REJECTED})
# Members of an order's row that an update has, too.
_SHARED = (
    "placed_by", "order_id", "exchange_order_id", "parent_order_id", "status", "status_message", "status_message_raw",
    "order_timestamp", "exchange_update_timestamp", "exchange_timestamp", "variety", "exchange", "tradingsymbol",
    "instrument_token", "order_type", "transaction_type", "validity", "product", "quantity", "disclosed_quantity",
    "price", "trigger_price", "average_price", "filled_quantity", "pending_quantity", "cancelled_quantity",
    "market_protection", "meta", "tag", "guid",
)  # fmt: skip


class Road(StrEnum):
    """The two ways that news take."""

    UPDATE = "update"  # a text frame
    POSTBACK = "postback"


class Announcements:
    """`way_of` says what shall happen to a message: of which road, about which order, with which status."""

    def __init__(self, broker: Broker, feed: Feed) -> None:
        self.postbacks = Postbacks(broker.logins.apps)
        self.way_of: Callable[[Road, Order, str], Way] = lambda road, order, status: Deliver()
        self._feed = feed
        self._app_ids = {key: _FIRST_APP_ID + number for number, key in enumerate(broker.logins.apps)}
        self._deliveries = {road: Deliveries() for road in Road}

    def tell(self, order: Order, event: str) -> None:
        """`event`: the order's new status, or UPDATE."""
        app = self.postbacks.app_of(order.api_key) if event in _POSTED else None
        has_sockets = self._feed.listens(order.user_id)
        if app is None and not has_sockets:
            return
        update = self._update(order, event)
        if has_sockets:
            self._send_to_sockets(order, update)
        if app is not None:
            self._post(order, app, update)

    def _update(self, order: Order, event: str) -> dict[str, Any]:
        row = order.history[-1].data
        shared = {name: row[name] for name in _SHARED}
        first = {"user_id": order.user_id, "unfilled_quantity": 0, "app_id": self._app_ids.get(order.api_key, 0)}
        return {**first, "checksum": "", **shared, "status": str(event)}

    def _send_to_sockets(self, order: Order, update: dict[str, Any]) -> None:
        way = self.way_of(Road.UPDATE, order, update["status"])
        text = json.dumps({"type": "order", "data": _as_told(update, way)}, ensure_ascii=False, separators=(",", ":"))
        self._deliveries[Road.UPDATE].carry_out(order.user_id, way, lambda: self._feed.tell(order.user_id, text))

    def _post(self, order: Order, app: DemoApp, update: dict[str, Any]) -> None:
        way = self.way_of(Road.POSTBACK, order, update["status"])
        secret = app.api_secret
        if isinstance(way, Forge) and not way.has_valid_checksum:
            secret = f"not {secret}"
        checksum = postback_checksum(update["order_id"], update["order_timestamp"], secret)
        body = _as_told(update, way) | {"checksum": checksum}
        self._deliveries[Road.POSTBACK].carry_out(app.api_key, way, lambda: self.postbacks.post(app, body))


def _as_told(update: dict[str, Any], way: Way) -> dict[str, Any]:
    if not isinstance(way, Forge):
        return update
    told = update | {"status": way.status}
    if way.status == Status.COMPLETE:
        told |= {"filled_quantity": update["quantity"], "pending_quantity": 0, "cancelled_quantity": 0}
    return told


ANNOUNCEMENTS = web.AppKey("announcements", Announcements)


def setup(app: web.Application) -> None:
    """After the feed's own set-up."""
    announcements = app[ANNOUNCEMENTS] = Announcements(app[BROKER], app[FEED])
    app[BROKER].desk.lifecycle.on_event = announcements.tell

    async def close(_: web.Application) -> None:
        await announcements.postbacks.close()

    app.on_cleanup.append(close)
