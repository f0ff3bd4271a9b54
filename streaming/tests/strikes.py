"""NIFTY as strike rules see it: 41 strikes of two expiries, and what the stream would leave of them in Redis."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
import redis

from accounts import clock
from accounts.models import TradingAccount
from market.lines import encode
from market.models import Instrument
from market.names import RedisNames, part_of
from market.tests.chains import head

NEAR, NEXT = date(2026, 12, 1), date(2026, 12, 8)
INDEX = 256265
NAMES = RedisNames("ticker")
Tell = Callable[..., None]


def token_of(strike: int, kind: str, expiry: date = NEAR) -> int:
    return (1_000 if expiry == NEAR else 5_000) + (strike - 24_000) // 25 + (kind == "PE")


@pytest.fixture
def listed(make_instrument: Callable[..., Instrument], account: TradingAccount) -> None:
    """NIFTY: the index, a future, and 41 strikes of two expiries; an account that feeds."""
    make_instrument(INDEX, "NIFTY 50", name="NIFTY 50", segment="INDICES")
    contract = {"exchange": "NFO", "name": "NIFTY", "lot_size": 75, "tick_size": Decimal("0.05")}
    make_instrument(
        999, "NIFTY26DECFUT", segment="NFO-FUT", instrument_type="FUT", expiry=date(2026, 12, 29), **contract
    )
    today = clock.today()
    Instrument.objects.bulk_create(
        Instrument(
            instrument_token=token_of(strike, kind, expiry),
            tradingsymbol=f"NIFTY{expiry:%y%m%d}{strike}{kind}",
            segment="NFO-OPT",
            instrument_type=kind,
            expiry=expiry,
            strike=strike,
            first_seen=today,
            last_seen=today,
            **contract,
        )
        for expiry in (NEAR, NEXT)
        for strike in range(24_000, 26_050, 50)
        for kind in ("CE", "PE")
    )


@pytest.fixture
def market_says(valkey: "redis.Redis") -> Tell:
    """`market_says(24_512, …)`: what the stream would leave in Redis; keywords change the line."""

    def tell(spot: float | None, *, age_ms: int = 40, flags: int = 0, **changes: Any) -> None:
        part = part_of("NIFTY", None)
        columns = {
            "instrument_token": [INDEX],
            "last_price": [spot],
            "exchange_timestamp": [int(clock.now().timestamp())],
            "age_ms": [age_ms],
            "flags": [flags],
            "tradingsymbol": ["NIFTY 50"],
            "instrument_type": ["EQ"],
            "expiry": [None],
        }
        valkey.set(NAMES.blob(part), encode(head(part, None) | {"pricing": None, "columns": columns} | changes))
        valkey.hset(NAMES.parts, str(INDEX), part)

    return tell


@pytest.fixture
def options_say(valkey: "redis.Redis") -> Tell:
    """`options_say(forward=…, deltas={token: …})`: the near expiry's part."""

    def tell(*, forward: float | None, deltas: dict[int, float] | None = None, source: str = "parity-forward") -> None:
        part = part_of("NIFTY", NEAR)
        known = deltas or {token_of(24_500, "CE"): 0.5}
        columns = {
            "instrument_token": list(known),
            "last_price": [100.0] * len(known),
            "age_ms": [100] * len(known),
            "flags": [0] * len(known),
            "delta": list(known.values()),
        }
        pricing = {"underlying_source": source, "underlying_price": forward, "underlying_age_ms": 100}
        valkey.set(NAMES.blob(part), encode(head(part, NEAR.isoformat()) | {"pricing": pricing, "columns": columns}))

    return tell
