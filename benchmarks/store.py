"""Storing a minute of bars of every instrument: binary COPY built by numpy against Django's `bulk_create`."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from itertools import count

import numpy as np

from benchmarks.harness import Result, compare
from benchmarks.postgres import database

BARS = 9_000
PEER = "bulk_create"


def run(rounds: int) -> Iterator[Result]:
    """Microseconds per bar, index, checks and foreign key included; every call writes a minute of its own."""
    with database():
        # Models can only be imported once there are settings.
        from market.bar_store import Bars, store
        from market.candle_models import MinuteBar
        from market.models import Instrument

        day = date(2026, 11, 1)
        terms = {"exchange": "NFO", "segment": "NFO-OPT", "instrument_type": "FUT", "first_seen": day, "last_seen": day}
        owners = [
            row.pk
            for row in Instrument.objects.bulk_create(
                Instrument(tradingsymbol=f"S{n}", instrument_token=n + 1, **terms) for n in range(BARS)
            )
        ]
        random = np.random.default_rng(1)
        low = np.round(random.uniform(1, 900, BARS), 2)
        volume, oi = random.integers(0, 90_000, BARS), random.integers(0, 9_000_000, BARS)
        instrument, prices = np.array(owners, np.int64), (low + 1, low + 2, low, low + 1)
        vwap = np.round(low + 1, 4)
        minutes = count(int(datetime(2026, 11, 2, 4, tzinfo=UTC).timestamp()), 60)

        def ours() -> None:
            minute = np.full(BARS, next(minutes), np.int64)
            store(Bars(instrument, minute, *prices, volume, oi, vwap), MinuteBar.Origin.LIVE)

        def peer() -> None:
            minute = datetime.fromtimestamp(next(minutes), UTC)
            columns = (owners, *(values.tolist() for values in (*prices, volume, oi, vwap)))
            MinuteBar.objects.bulk_create(
                (
                    MinuteBar(
                        instrument_id=owner,
                        minute=minute,
                        open=o,
                        high=h,
                        low=lowest,
                        close=c,
                        volume=traded,
                        oi=interest,
                        vwap=mean,
                        origin=MinuteBar.Origin.LIVE,
                    )
                    for owner, o, h, lowest, c, traded, interest, mean in zip(*columns, strict=True)
                ),
                batch_size=1000,
            )

        timing = compare(ours, peer, rounds=rounds)
        if MinuteBar.objects.count() % BARS:
            raise RuntimeError("bars are missing")
    micro = 1e6 / BARS
    yield Result("store", f"minute-{BARS}", timing.ours * micro, "us/bar", PEER, timing.peer * micro, timing.ratio)
