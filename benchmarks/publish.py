"""Publishing 1,000 ticks: one PUBLISH of the encoded batch against one per tick. Encoding is on neither side."""

import json
from collections.abc import Iterator

import numpy as np
import redis
from kiteconnect import KiteTicker

from benchmarks.harness import Result, compare
from benchmarks.market import MARKET_TIME, RATE, frames_of, market
from benchmarks.valkey import valkey
from market.pricing_terms import PricingTerms
from streaming.contracts import Instruments
from streaming.packets import decode_window
from streaming.pricing import Moment, PricingSettings
from streaming.snapshots import PartEncoder, Stamp
from streaming.ticks import TickTable

TICKS = 1_000
PEER = "publish-per-tick"


def run(rounds: int) -> Iterator[Result]:
    """Microseconds per tick."""
    source = market()
    rows = np.random.default_rng(1).permutation(len(source.contracts))[:TICKS].tolist()
    frames = frames_of(source, rows, 100, volume=1)
    batch = _batch(Instruments(source.contracts), frames)
    ticker = KiteTicker("key", "token")
    messages = [
        (f"tick:{tick['instrument_token']}", json.dumps(tick, default=str))
        for frame in frames
        for tick in ticker._parse_binary(frame)
    ]
    with valkey() as url, redis.Redis.from_url(url) as client:

        def one_by_one() -> None:
            for channel, message in messages:
                client.publish(channel, message)

        timing = compare(lambda: client.publish("ticks", batch), one_by_one, rounds=rounds)
    micro = 1e6 / TICKS
    yield Result("publish", "batch-1000", timing.ours * micro, "us/tick", PEER, timing.peer * micro, timing.ratio)


def _batch(instruments: Instruments, frames: list[bytes]) -> bytes:
    """The ticks as the service publishes them: a line of columns for each part."""
    table = TickTable(instruments)
    applied = table.apply(decode_window(frames), received_at=1.0, market_time=MARKET_TIME)
    if len(applied.slots) != TICKS:
        raise RuntimeError(f"{len(applied.slots)} rows changed, not {TICKS}: {applied.counts}")
    stamp = Stamp("simulated", "live", 1, 1, MARKET_TIME)
    encoder = PartEncoder(table, PricingSettings(PricingTerms(rate=RATE)))
    lines = encoder.encode_flush(instruments.parts_of(applied.slots), (), Moment(MARKET_TIME, 1.0), stamp).values()
    return b"".join(line.data for line in lines)
