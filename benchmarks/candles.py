"""A stored year of minutes over HTTP, first byte to last, against the broker's client parsing the same candles."""

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from kiteconnect import KiteConnect

from benchmarks.harness import Result, compare
from benchmarks.postgres import database
from benchmarks.valkey import valkey

MINUTES_A_DAY = 375
PEER = "kiteconnect-parse"
FIRST, LAST = date(2025, 11, 25), date(2026, 11, 24)


def run(rounds: int) -> Iterator[Result]:
    """Milliseconds of a year; the server's work and ours are in one process, so the network is on neither side."""
    with valkey() as redis_url, database(redis_url):
        # Models can only be imported once there are settings.
        from asgiref.sync import async_to_sync
        from django.conf import settings
        from django.contrib.auth.models import User
        from django.test import AsyncClient
        from django.test.utils import setup_test_environment

        from accounts.models import KiteApp, TradingAccount
        from market.bar_store import UNKNOWN, Bars, store
        from market.candle_coverage import Kind, add_days
        from market.candle_models import MinuteBar
        from market.models import Instrument

        setup_test_environment()
        settings.REST_FRAMEWORK["DEFAULT_THROTTLE_CLASSES"] = []
        owner = User.objects.create_user("reader")
        app = KiteApp.objects.create(api_key="benchmark", label="Benchmark")
        TradingAccount.objects.create(kite_user_id="AB1234", label="Benchmark", app=app, owner=owner)
        terms: dict[str, Any] = {"exchange": "NSE", "segment": "NSE", "instrument_type": "EQ"}
        infy = Instrument.objects.create(
            tradingsymbol="INFY", instrument_token=408065, first_seen=FIRST, last_seen=LAST, **terms
        )
        minute = _minutes()
        low = np.round(np.random.default_rng(1).uniform(1_400, 1_600, len(minute)), 2)
        whole = np.full(len(minute), 1_000, np.int64)
        unknown, no_vwap = np.full(len(minute), UNKNOWN, np.int64), np.full(len(minute), np.nan)
        owners = np.full(len(minute), infy.pk, np.int64)
        bars = Bars(owners, minute, low + 1, low + 2, low, low + 1, whole, unknown, no_vwap)
        store(bars, MinuteBar.Origin.HISTORY)
        add_days(infy.pk, Kind.MINUTE, (FIRST, LAST))
        client = AsyncClient()
        client.force_login(owner)
        path = f"/api/v1/candles?instrument=NSE:INFY&from={FIRST}&to={LAST}T23:59"

        async def ask() -> bytes:
            answer: Any = await client.get(path)
            if answer.status_code != 200:
                raise RuntimeError(f"{answer.status_code}: {answer.content[:200]!r}")
            return b"".join([part async for part in answer.streaming_content])

        candles = json.loads(async_to_sync(ask)())["candles"]
        if len(candles) != len(minute):
            raise RuntimeError(f"{len(candles)} candles came of {len(minute)}")
        answer = json.dumps({"status": "success", "data": {"candles": candles}})
        kite = KiteConnect("key")
        timing = compare(async_to_sync(ask), lambda: kite._format_historical(json.loads(answer)["data"]), rounds=rounds)
    yield Result("candles", "year-of-minutes", timing.ours * 1e3, "ms", PEER, timing.peer * 1e3, timing.ratio)


def _minutes() -> "np.ndarray[Any, np.dtype[np.int64]]":
    days = [FIRST + timedelta(days=n) for n in range((LAST - FIRST).days + 1)]
    opens = [
        int(datetime(day.year, day.month, day.day, 3, 45, tzinfo=UTC).timestamp()) for day in days if day.weekday() < 5
    ]
    return (np.array(opens, np.int64)[:, None] + 60 * np.arange(MINUTES_A_DAY)).ravel()
