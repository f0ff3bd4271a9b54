"""From what a window and a second brought to the metrics: once a window, never once a tick."""

from streaming import metrics
from streaming.fleet import Fleet
from streaming.pace import Pace
from streaming.pipeline import Flushed, TickPipeline
from streaming.publisher import Publisher

# Looked up once: a labelled metric costs a dictionary look-up and a lock each time.
_window_latency = metrics.TICK_LATENCY.labels("window")
_greeks_latency = metrics.GREEKS_LATENCY.labels("all")


def count(flushed: Flushed, *, waited_seconds: float) -> None:
    """One window; `waited_seconds` from its oldest frame to its encoded batch."""
    metrics.TICKS_RECEIVED.inc(flushed.packets)
    metrics.TICKS_CONFLATED.inc(flushed.conflated)
    metrics.BATCH_SIZE.observe(flushed.packets)
    _window_latency.observe(waited_seconds)
    _greeks_latency.observe(flushed.encode_seconds)
    for reason, number in flushed.rejected.items():
        metrics.TICKS_REJECTED.labels(reason).inc(number)
    for reason, number in flushed.faults.items():
        metrics.FRAME_FAULTS.labels(reason).inc(number)


def gauge(fleet: Fleet, publisher: Publisher, lag_seconds: float, pipeline: TickPipeline, pace: Pace) -> None:
    """How things stand."""
    metrics.ACTIVE_SUBSCRIPTIONS.set(len(pipeline.table))
    metrics.PENDING_BYTES.set(publisher.pending_bytes)
    metrics.WAITING_BATCHES.set(publisher.waiting_batches)
    metrics.PUBLISH_LAG.set(publisher.lag_seconds)
    metrics.WINDOW_SECONDS.set(pace.window)
    metrics.LOOP_LAG.set(lag_seconds)
    for feed in fleet.feeds.values():
        pool = feed.pool
        metrics.POOL_CONNECTIONS.labels(pool.account).set(pool.open_connections)
        metrics.POOL_TOKENS.labels(pool.account).set(pool.subscribed)
        metrics.RECONNECTS.labels(pool.account).set(sum(connection.reconnects for connection in pool.connections))
