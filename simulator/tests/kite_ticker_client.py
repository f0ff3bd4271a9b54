"""The official KiteTicker in a process of its own: Twisted's reactor cannot be started twice.

    python -m simulator.tests.kite_ticker_client ROOT API_KEY ACCESS_TOKEN TOKEN…

Asks for the first token in ltp, the second in quote and the others in full mode, and prints the first tick of each.
"""

import json
import sys
from typing import Any

from kiteconnect import KiteTicker


def main(root: str, api_key: str, access_token: str, *texts: str) -> None:
    tokens = [int(text) for text in texts]
    ticker = KiteTicker(api_key, access_token, root=root)
    first_ticks: dict[int, dict[str, Any]] = {}
    messages: list[str] = []
    wanted = {"ltp": tokens[:1], "quote": tokens[1:2], "full": tokens[2:]}

    def on_connect(ws: KiteTicker, response: Any) -> None:
        for mode, group in wanted.items():
            ws.set_mode(mode, group)

    def on_ticks(ws: KiteTicker, ticks: list[dict[str, Any]]) -> None:
        for tick in ticks:
            first_ticks.setdefault(tick["instrument_token"], tick)
        if len(first_ticks) == len(tokens):
            ws.stop()

    def on_message(ws: KiteTicker, payload: bytes, is_binary: bool) -> None:
        if not is_binary:
            messages.append(json.loads(payload)["type"])

    def on_error(ws: KiteTicker, code: int, reason: str) -> None:
        messages.append(f"error {code} {reason}")
        ws.stop()

    ticker.on_connect, ticker.on_ticks, ticker.on_message, ticker.on_error = on_connect, on_ticks, on_message, on_error
    ticker.connect()
    json.dump({"messages": messages, "ticks": list(first_ticks.values())}, sys.stdout, default=str)


if __name__ == "__main__":
    main(*sys.argv[1:])
