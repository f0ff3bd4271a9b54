"""The official KiteTicker and an order, in a process of its own.

    python -m simulator.tests.kite_ticker_orders_client HTTP_ROOT WEBSOCKET_ROOT API_KEY ACCESS_TOKEN

Places a market order once it is connected, and prints what `on_order_update` was given until the order was complete.
"""

import json
import sys
from typing import Any

from kiteconnect import KiteConnect, KiteTicker


def main(http_root: str, websocket_root: str, api_key: str, access_token: str) -> None:
    kite = KiteConnect(api_key, access_token, root=http_root)
    ticker = KiteTicker(api_key, access_token, root=websocket_root)
    told: list[dict[str, Any]] = []

    def on_connect(ws: KiteTicker, response: Any) -> None:
        kite.place_order(
            "regular", exchange="NSE", tradingsymbol="INFY", transaction_type="BUY", quantity=10, product="CNC",
            order_type="MARKET", market_protection=-1, tag="ticker",
        )  # fmt: skip

    def on_order_update(ws: KiteTicker, data: dict[str, Any]) -> None:
        told.append(data)
        if data["status"] == "COMPLETE":
            ws.stop()

    def on_error(ws: KiteTicker, code: int, reason: str) -> None:
        if not told:  # its own stop is an error to the ticker, too
            told.append({"error": reason})
            ws.stop()

    ticker.on_connect, ticker.on_order_update, ticker.on_error = on_connect, on_order_update, on_error
    ticker.connect()
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
