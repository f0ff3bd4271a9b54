"""What the stream last said of two options of NIFTY, and of NIFTY."""

from datetime import date

from django.conf import settings
from redis import Redis

from market.lines import encode
from market.names import RedisNames

EXPIRY = date(2026, 12, 29)
CALL, PUT = "NIFTY26DEC24700CE", "NIFTY26DEC24300PE"
TOKENS = [10_000 + 2 * 24_700, 10_000 + 2 * 24_300 + 1]
SPOT = 24_612.35


def prices(*, volatility: float | None, spot: float | None = SPOT, sent_at: float = 1.0) -> None:
    """What the stream last said of the two options and of NIFTY."""
    names = RedisNames(settings.REDIS_PREFIX)
    head = {"kind": "snapshot", "source": "simulated", "feed_state": "live", "sent_at": sent_at, "market_time": 1.0}
    options = {
        "instrument_token": TOKENS,
        "last_price": [130.0, 60.0],
        "implied_volatility": [volatility, 0.14],
        "priced_at_middle": [False, False],
        "age_ms": [0, 0],
    }
    pricing = {"model": "black-76", "underlying_price": SPOT + 90, "spot": spot}
    cash = {
        "instrument_token": [256265],
        "last_price": [spot],
        "tradingsymbol": ["NIFTY 50"],
        "instrument_type": ["EQ"],
        "expiry": [None],
        "age_ms": [0],
    }
    with Redis.from_url(settings.REDIS_URL) as store:
        store.set(names.blob("nifty:2026-12-29"), encode(head | {"pricing": pricing, "columns": options}))
        store.set(names.blob("nifty:underlying"), encode(head | {"columns": cash}))
        store.hset(names.parts, mapping=dict.fromkeys(map(str, TOKENS), "nifty:2026-12-29"))
