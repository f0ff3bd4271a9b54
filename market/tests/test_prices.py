"""What an instrument trades at, and when that may be believed."""

import time
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from market.exceptions import PricesUnavailable
from market.freeze_quantities import freeze_quantity
from market.lines import encode
from market.models import Instrument
from market.prices import MarketPrice, price_of, prices_of

SHARE = Instrument(pk=1, exchange="NSE", tradingsymbol="INFY", instrument_token=408065, name="INFOSYS")
OTHER = Instrument(pk=2, exchange="NSE", tradingsymbol="TCS", instrument_token=2953217, name="TCS")


def leave(valkey: "redis.Redis", *, seconds_ago: float = 0.0, feed_state: str = "live", **columns: Any) -> None:
    """A share's part as the stream leaves it."""
    values: dict[str, Any] = {
        "instrument_token": [408065],
        "last_price": [1500.05],
        "bid": [1500.0],
        "ask": [1500.1],
        "close": [1490.0],
        "age_ms": [400],
        "flags": [0],
    }
    sent_at = time.time() - seconds_ago
    head = {"kind": "snapshot", "source": "simulated", "feed_state": feed_state, "sent_at": sent_at}
    line = encode(head | {"market_time": sent_at, "columns": values | columns})
    valkey.hset("ticker:parts", mapping={"408065": "infosys:underlying"})
    valkey.set("ticker:latest:infosys:underlying", line)


def infy() -> MarketPrice:
    price = price_of(SHARE)
    assert price is not None
    return price


def test_a_price_comes_with_its_sides_its_age_and_where_it_is_from(valkey: "redis.Redis") -> None:
    leave(valkey)
    price = infy()
    assert (price.last_price, price.bid, price.ask) == (Decimal("1500.05"), Decimal("1500.0"), Decimal("1500.1"))
    assert price.middle == Decimal("1500.05")
    assert price.age_seconds == pytest.approx(0.4, abs=0.3)
    assert (price.is_fresh, price.source) == (True, "simulated")


@pytest.mark.parametrize("left", [{"seconds_ago": 30.0}, {"feed_state": "stale"}, {"flags": [2]}, {"age_ms": [9000]}])
def test_an_old_price_one_of_a_stale_feed_or_one_with_a_flag_is_not_fresh(
    valkey: "redis.Redis", left: dict[str, Any]
) -> None:
    leave(valkey, **left)
    assert not infy().is_fresh


@pytest.mark.parametrize(("goes_by", "is_fresh"), [("simulated", True), ("live", False), ("replay", False)])
def test_a_price_of_another_source_than_the_installations_is_not_fresh(
    valkey: "redis.Redis", settings: Settings, goes_by: str, is_fresh: bool
) -> None:
    settings.FEED_SOURCE = goes_by
    leave(valkey)
    assert (infy().is_fresh, infy().source) == (is_fresh, "simulated")


def test_nought_is_no_price(valkey: "redis.Redis") -> None:
    leave(valkey, last_price=[0.0], bid=[0.0], ask=[None])
    price = infy()
    assert (price.last_price, price.bid, price.ask, price.middle) == (None, None, None, None)


def test_what_the_stream_does_not_carry_has_no_price(valkey: "redis.Redis") -> None:
    leave(valkey)
    assert list(prices_of([SHARE, OTHER])) == [1]
    assert prices_of([]) == {}
    valkey.flushall()
    assert price_of(SHARE) is None


@pytest.mark.usefixtures("without_redis")
def test_without_redis_nobody_knows() -> None:
    with pytest.raises(PricesUnavailable):
        price_of(SHARE)


def test_the_largest_order_is_what_the_exchanges_file_says_of_that_day(settings: Settings, tmp_path: Path) -> None:
    settings.MARKET_DATA_DIR = tmp_path
    head = "exchange,name,valid_from,freeze_quantity,source\n"
    (tmp_path / "freeze_quantities.csv").write_text(
        head + "NFO,NIFTY,2026-06-01,1800,circular\nNFO,NIFTY,2025-12-01,1755,circular\n"
    )
    nifty = Instrument(exchange="NFO", name="NIFTY")
    assert freeze_quantity(nifty, date(2026, 6, 1)) == 1800
    assert freeze_quantity(nifty, date(2026, 5, 31)) == 1755
    assert freeze_quantity(nifty, date(2025, 11, 30)) is None
    assert freeze_quantity(SHARE, date(2026, 6, 1)) is None


def test_a_bad_row_of_that_file_is_named(settings: Settings, tmp_path: Path) -> None:
    settings.MARKET_DATA_DIR = tmp_path
    (tmp_path / "freeze_quantities.csv").write_text(
        "exchange,name,valid_from,freeze_quantity,source\nNFO,NIFTY,2026-06-01,0,x\n"
    )
    with pytest.raises(ImproperlyConfigured, match="line 2"):
        freeze_quantity(SHARE, date(2026, 6, 1))
