"""What the service has said so far: snapshots and updates, merged. Pure; no sockets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict, cast


class Row(TypedDict, total=False):
    """One instrument. None where a number is not known. An option has `strike` and what follows it; cash and futures
    have `tradingsymbol` and what follows that."""

    instrument_token: int
    last_price: float | None
    change_percent: float | None
    bid: float | None
    ask: float | None
    bid_quantity: int | None
    ask_quantity: int | None
    volume_traded: int | None
    oi: int | None
    oi_day_change: int | None
    average_traded_price: float | None
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    last_trade_time: int | None
    exchange_timestamp: int | None
    age_ms: int | None
    flags: int
    strike: float
    is_call: bool
    implied_volatility: float | None
    delta: float | None
    gamma: float | None
    theta_per_day: float | None
    vega_per_point: float | None
    rho_per_point: float | None
    greeks_reason: str | None
    priced_at_middle: bool
    tradingsymbol: str
    instrument_type: str
    expiry: str | None
    # The order book, where the service has more than its best prices in every line (STREAM_DEPTH_LEVELS).
    bid_orders: int | None
    ask_orders: int | None
    bid_2: float | None
    bid_quantity_2: int | None
    bid_orders_2: int | None
    ask_2: float | None
    ask_quantity_2: int | None
    ask_orders_2: int | None
    bid_3: float | None
    bid_quantity_3: int | None
    bid_orders_3: int | None
    ask_3: float | None
    ask_quantity_3: int | None
    ask_orders_3: int | None
    bid_4: float | None
    bid_quantity_4: int | None
    bid_orders_4: int | None
    ask_4: float | None
    ask_quantity_4: int | None
    ask_orders_4: int | None
    bid_5: float | None
    bid_quantity_5: int | None
    bid_orders_5: int | None
    ask_5: float | None
    ask_quantity_5: int | None
    ask_orders_5: int | None


class Strike(NamedTuple):
    """The two options of one strike; None where there is none."""

    strike: float
    call: Row | None
    put: Row | None


class Bar(TypedDict):
    """What one instrument did in a second or a minute. None where a number is not known."""

    instrument_token: int
    open: float | None
    high: float | None
    low: float | None
    close: float | None
    volume: int | None
    oi: int | None
    vwap: float | None


@dataclass(frozen=True, slots=True)
class Bars:
    """The bars of an underlying's instruments that began at `start` (Unix seconds, market time), by token."""

    underlying: str
    seconds: int
    start: int
    bars: Mapping[int, Bar]


@dataclass(frozen=True, slots=True)
class Part:
    """What the newest line of a part says of all its rows. `tokens` are the instruments that it holds."""

    name: str
    underlying: str
    expiry: str | None
    source: str
    feed_state: str
    pricing: Mapping[str, Any] | None
    epoch: int
    seq: int
    sent_at: float
    market_time: float
    tokens: frozenset[int]


class State:
    """Rows by instrument token, and the parts that they are in."""

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.parts: dict[str, Part] = {}
        self.analytics: dict[str, Mapping[str, Any]] = {}
        self._arrived: dict[int, float] = {}

    def apply(self, line: Mapping[str, Any], now: float) -> frozenset[int]:
        """Take a line in; `now` in seconds of any clock that only goes forward. Returns the tokens whose rows changed.

        A snapshot takes the place of all rows of its part, an update that of those it has. Lines of a kind that is not
        known are passed over: the service may have more than this client.
        """
        kind, name = line.get("kind"), str(line.get("part"))
        if kind == "analytics":
            self.analytics[name] = line["analytics"]
        if kind not in ("snapshot", "update"):
            return frozenset()
        found = cast("dict[int, Row]", _by_token(line["columns"]))
        changed = frozenset(found)
        before = self.parts[name].tokens if name in self.parts else frozenset()
        tokens = changed if kind == "snapshot" else before | changed
        gone = before - tokens
        self._drop(gone)
        self.rows.update(found)
        self._arrived.update(dict.fromkeys(found, now))
        self.parts[name] = Part(
            name,
            line["underlying"],
            line["expiry"],
            line["source"],
            line["feed_state"],
            line["pricing"],
            line["epoch"],
            line["seq"],
            line["sent_at"],
            line["market_time"],
            tokens,
        )
        return changed | gone

    def keep(self, parts: frozenset[str]) -> None:
        """Forget all other parts, and their rows."""
        for name in self.parts.keys() - parts:
            self._drop(self.parts.pop(name).tokens)
        for name in self.analytics.keys() - parts:
            del self.analytics[name]

    def age_ms(self, token: int, now: float) -> float | None:
        """Milliseconds from a row's last tick to `now`, by the clock of `apply`; None if no tick of it is known."""
        age = self.rows[token].get("age_ms") if token in self.rows else None
        return None if age is None else age + (now - self._arrived[token]) * 1000

    def chain(self, underlying: str, expiry: str) -> list[Strike]:
        """An underlying's options of one expiry, by strike; empty while nothing of them has come."""
        sides: dict[float, dict[bool, Row]] = {}
        for part in self.parts.values():
            if part.underlying.upper() == underlying.upper() and part.expiry == expiry:
                for row in map(self.rows.__getitem__, part.tokens):
                    sides.setdefault(row["strike"], {})[row["is_call"]] = row
        return [Strike(strike, sides[strike].get(True), sides[strike].get(False)) for strike in sorted(sides)]

    def _drop(self, tokens: frozenset[int]) -> None:
        for token in tokens:
            self.rows.pop(token, None)
            self._arrived.pop(token, None)


def bars_of(line: Mapping[str, Any]) -> Bars | None:
    """The bars of a line; None if it is a line of another kind."""
    if line.get("kind") != "bars":
        return None
    bars = cast("dict[int, Bar]", _by_token(line["columns"]))
    return Bars(line["underlying"], line["seconds"], line["start"], bars)


def _by_token(columns: Mapping[str, Sequence[Any]]) -> dict[int, dict[str, Any]]:
    """Columns of one length as rows."""
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {row["instrument_token"]: row for row in rows}
