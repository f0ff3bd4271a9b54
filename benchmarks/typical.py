"""A typical service, written out: each tick is parsed, checked, priced, encoded and published by itself.

The official client's parser, a dict of what is known of each token, `vollib`'s implied volatility, Greeks with
`math.erf`, `json.dumps`, and one PUBLISH per tick: what one finds in most public code for this feed.
"""

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from kiteconnect import KiteTicker

from benchmarks.harness import PeerMissing
from benchmarks.market import MARKET_TIME, RATE, Market
from streaming.contracts import CALL, CASH

YEAR_SECONDS = 365 * 86_400
NAME = "typical"


class TypicalService:
    """Holds the last spot of every underlying; `publish(channel, message)` is called once per tick."""

    def __init__(self, market: Market, publish: Callable[[str, str], object]) -> None:
        try:
            from vollib.black_scholes.implied_volatility import implied_volatility
        except ImportError:
            raise PeerMissing("vollib") from None
        self._implied_volatility = implied_volatility
        self._ticker = KiteTicker("key", "token")
        self._contracts = {contract.instrument_token: contract for contract in market.contracts}
        priced = zip(market.contracts, market.paise, strict=True)
        self._spots = {
            contract.underlying: paise / 100 for contract, paise in priced if contract.instrument_type == CASH
        }
        self._publish = publish

    def window(self, frames: Sequence[bytes]) -> None:
        for frame in frames:
            for tick in self._ticker._parse_binary(frame):
                self._tick(tick)

    def _tick(self, tick: dict[str, Any]) -> None:
        contract = self._contracts.get(tick["instrument_token"])
        if contract is None or tick["last_price"] <= 0:
            return
        if contract.instrument_type == CASH:
            self._spots[contract.underlying] = tick["last_price"]
        elif contract.is_option:
            is_call = contract.instrument_type == CALL
            years = (contract.closes_at - MARKET_TIME) / YEAR_SECONDS
            spot = self._spots[contract.underlying]
            try:
                flag = "c" if is_call else "p"
                volatility = self._implied_volatility(tick["last_price"], spot, contract.strike, years, RATE, flag)
            except Exception:  # noqa: BLE001 - vollib raises its own kinds for prices out of bounds
                tick["implied_volatility"] = None
            else:
                tick["implied_volatility"] = volatility
                tick.update(_greeks(spot, contract.strike, years, volatility, is_call))
        self._publish(f"tick:{tick['instrument_token']}", json.dumps(tick, default=str))


def _greeks(spot: float, strike: float, years: float, volatility: float, is_call: bool) -> dict[str, float]:
    root = math.sqrt(years)
    if volatility <= 0:
        return {}
    d1 = (math.log(spot / strike) + (RATE + volatility * volatility / 2) * years) / (volatility * root)
    d2 = d1 - volatility * root
    density = math.exp(-d1 * d1 / 2) / math.sqrt(2 * math.pi)
    discounted = strike * math.exp(-RATE * years)
    sign = 1 if is_call else -1
    return {
        "delta": sign * _normal(sign * d1),
        "gamma": density / (spot * volatility * root),
        "theta": (-spot * density * volatility / (2 * root) - sign * RATE * discounted * _normal(sign * d2)) / 365,
        "vega": spot * density * root / 100,
        "rho": sign * years * discounted * _normal(sign * d2) / 100,
    }


def _normal(x: float) -> float:
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))
