"""A chain made for tests: listed contracts, and the lines that the stream would leave of them in Redis."""

import time
from datetime import date
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import redis
from django.conf import settings

from accounts import clock
from greeks import black76
from market import calendar
from market.calendar_loading import load_calendar
from market.instruments import import_instruments
from market.lines import encode
from market.tests.dumps import NEAR, Row, dump, future, index, option, stock

FORWARD, SPOT, RATE, VOLATILITY = 24_530.0, 24_500.0, 0.10, 0.13
STRIKES = tuple(float(strike) for strike in range(24_000, 25_050, 50))
PART, CASH_PART = f"ticker:latest:nifty:{NEAR}", "ticker:latest:nifty:underlying"
LATER = date(2026, 12, 29)


def token_of(strike: float, kind: str) -> int:
    return 1_000 + 2 * STRIKES.index(strike) + (kind == "PE")


def listed() -> list[Row]:
    """The dump: an index, a stock, a future, the chain, and one later expiry."""
    rows = [index(), stock(), future()]
    rows += [
        option(strike=strike, kind=kind, token=token_of(strike, kind)) for strike in STRIKES for kind in ("CE", "PE")
    ]
    return [*rows, option(expiry=LATER, token=9_000), option(expiry=LATER, kind="PE", token=9_001)]


def list_contracts() -> None:
    """Into the database, with the sessions of the project's calendar."""
    load_calendar(Path(settings.MARKET_DATA_DIR))
    calendar.forget()
    import_instruments([dump(listed())])


def years_left() -> float:
    """To the close of the near expiry, 15:30 in India."""
    closes = calendar.close_of(SimpleNamespace(exchange="NFO", expiry=NEAR)).timestamp()
    return (closes - clock.now().timestamp()) / (365 * 86_400)


def smile(strike: Any) -> Any:
    return VOLATILITY + 0.4 * np.log(np.asarray(strike) / FORWARD) ** 2 - 0.2 * np.log(np.asarray(strike) / FORWARD)


def options_line(years: float, **changes: Any) -> dict[str, Any]:
    """The part of options as a snapshot line, at fair prices. `changes` are whole columns or keys of the line."""
    strike = np.repeat(STRIKES, 2)
    is_call = np.tile([True, False], len(STRIKES))
    volatility = smile(strike)
    greeks = black76.greeks(FORWARD, strike, years, RATE, volatility, is_call)
    now = int(clock.now().timestamp())
    rows = len(strike)
    columns: dict[str, Any] = {
        "instrument_token": [
            token_of(k, "CE" if c else "PE") for k, c in zip(strike.tolist(), is_call.tolist(), strict=True)
        ],
        "last_price": greeks.price.tolist(),
        "change_percent": [1.0] * rows,
        "bid": (greeks.price - 0.05).tolist(),
        "ask": (greeks.price + 0.05).tolist(),
        "bid_quantity": [75] * rows,
        "ask_quantity": [150] * rows,
        "volume_traded": [1_000] * rows,
        "oi": [7_500 if call else 15_000 for call in is_call.tolist()],
        "oi_day_change": [75] * rows,
        "last_trade_time": [now] * rows,
        "exchange_timestamp": [now] * rows,
        "age_ms": [100] * rows,
        "flags": [0] * rows,
        "strike": strike.tolist(),
        "is_call": is_call.tolist(),
        "implied_volatility": volatility.tolist(),
        "priced_at_middle": [True] * rows,
        "greeks_reason": [None] * rows,
        **{
            name: getattr(greeks, name).tolist()
            for name in ("delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point")
        },
    }
    columns |= {name: value for name, value in changes.items() if name in columns}
    pricing = {
        "model": "black-76",
        "underlying_source": "parity-forward",
        "underlying_price": FORWARD,
        "underlying_age_ms": 100,
        "spot": SPOT,
        "future": FORWARD + 2,
        "rate": RATE,
        "dividend_yield": 0.0,
        "time_to_expiry": years,
    }
    line = head(f"nifty:{NEAR}", NEAR.isoformat()) | {"pricing": pricing, "columns": columns}
    return line | {name: value for name, value in changes.items() if name in line}


def cash_line() -> dict[str, Any]:
    """The part of cash and future as a snapshot line."""
    now = int(clock.now().timestamp())
    columns = {
        "instrument_token": [256265, 12_000_001],
        "last_price": [SPOT, FORWARD + 2],
        "exchange_timestamp": [now, now],
        "age_ms": [40, 60],
        "flags": [0, 0],
        "tradingsymbol": ["NIFTY 50", "NIFTY26DECFUT"],
        "instrument_type": ["EQ", "FUT"],
        "expiry": [None, NEAR.isoformat()],
    }
    return head("nifty:underlying", None) | {"pricing": None, "columns": columns}


def head(part: str, expiry: str | None, kind: str = "snapshot") -> dict[str, Any]:
    return {
        "schema": 1,
        "part": part,
        "underlying": "NIFTY",
        "expiry": expiry,
        "kind": kind,
        "source": "simulated",
        "feed_state": "live",
        "epoch": 1,
        "seq": 1,
        "sent_at": time.time(),
        "market_time": clock.now().timestamp(),
    }


def publish(valkey: "redis.Redis", years: float, **changes: Any) -> None:
    """Leave both parts in Redis."""
    valkey.set(PART, encode(options_line(years, **changes)))
    valkey.set(CASH_PART, encode(cash_line()))
