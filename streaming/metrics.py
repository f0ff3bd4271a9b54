"""What the stream process and the hub count. The tick path counts locally and adds once a window: no look-ups per tick.

The stream's metrics have a registry of their own, which `run_stream` joins to the process's: in a web process they
would all read zero, and a zero that nobody measured is a lie.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

STREAM_REGISTRY = CollectorRegistry()
_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# --- connections and subscriptions ------------------------------------------------------------------------------------
POOL_CONNECTIONS = Gauge(
    "websocket_pool_connections", "Open sockets to the broker", ["account_id"], registry=STREAM_REGISTRY
)
POOL_TOKENS = Gauge(
    "websocket_pool_subscribed_tokens",
    "Instruments subscribed on open sockets",
    ["account_id"],
    registry=STREAM_REGISTRY,
)
RECONNECTS = Gauge("websocket_pool_reconnects", "Reconnects since start", ["account_id"], registry=STREAM_REGISTRY)
ACTIVE_SUBSCRIPTIONS = Gauge(
    "active_subscriptions_total", "Instruments wanted, derived ones included", registry=STREAM_REGISTRY
)

# --- ticks ----------------------------------------------------------------------------------------------------------
TICKS_RECEIVED = Counter("ticks_received", "Packets decoded", registry=STREAM_REGISTRY)
TICKS_CONFLATED = Counter(
    "ticks_conflated", "Ticks that a newer one of their window took the place of", registry=STREAM_REGISTRY
)
TICKS_REJECTED = Counter("tick_validation_errors", "Ticks dropped or flagged", ["reason"], registry=STREAM_REGISTRY)
FRAME_FAULTS = Counter(
    "ticker_frame_faults", "Frames or packets that could not be read", ["reason"], registry=STREAM_REGISTRY
)
HEARTBEATS = Counter("ticker_heartbeats", "Frames of one byte", registry=STREAM_REGISTRY)
TICK_LATENCY = Histogram(
    "tick_processing_latency_seconds",
    "From the oldest waiting frame to the encoded batch",
    ["tick_type"],
    buckets=_SECONDS,
    registry=STREAM_REGISTRY,
)
GREEKS_LATENCY = Histogram(
    "greeks_calculation_latency_seconds",
    "Pricing and encoding one window",
    ["strike_offset"],
    buckets=_SECONDS,
    registry=STREAM_REGISTRY,
)
BATCH_SIZE = Histogram(
    "tick_batch_size",
    "Packets in a window",
    buckets=(1, 3, 10, 30, 100, 300, 1000, 3000, 10000),
    registry=STREAM_REGISTRY,
)
LOOP_LAG = Gauge("event_loop_lag_seconds", "How late the last window was", registry=STREAM_REGISTRY)
LOOP_DELAY = Histogram(
    "event_loop_delay_seconds",
    "How late the event loop ran what was due, fifty times a second",
    buckets=_SECONDS,
    registry=STREAM_REGISTRY,
)

# --- Redis ----------------------------------------------------------------------------------------------------------
PUBLISHED_BATCHES = Counter("redis_published_batches", "Batches written", registry=STREAM_REGISTRY)
PUBLISHED_MESSAGES = Counter("redis_published_messages", "PUBLISH commands sent for ticks", registry=STREAM_REGISTRY)
PUBLISH_FAILURES = Counter("redis_publish_failures", "Batches that Redis did not take", registry=STREAM_REGISTRY)
CIRCUIT_OPEN_DROPS = Counter(
    "redis_circuit_open_drops", "Batches dropped because the breaker was open", registry=STREAM_REGISTRY
)
BATCHES_MERGED = Counter("redis_batches_merged", "Batches merged into a newer one", registry=STREAM_REGISTRY)
WAITING_BATCHES = Gauge("redis_waiting_batches", "Batches that wait for Redis, of 4", registry=STREAM_REGISTRY)
PUBLISH_LAG = Gauge(
    "redis_publish_lag_seconds", "How long the oldest batch waits that Redis has not taken", registry=STREAM_REGISTRY
)
WINDOW_SECONDS = Gauge(
    "stream_window_seconds", "How long a window is now: longer than set while Redis is slow", registry=STREAM_REGISTRY
)
PUBLISH_SECONDS = Histogram("redis_publish_seconds", "One flush to Redis", buckets=_SECONDS, registry=STREAM_REGISTRY)
PENDING_BYTES = Gauge("redis_pending_bytes", "Encoded bytes waiting for Redis", registry=STREAM_REGISTRY)
BREAKER_STATE = Gauge("circuit_breaker_state", "0 closed, 1 half open, 2 open", ["component"], registry=STREAM_REGISTRY)

# --- WebSocket clients: measured in the web processes ---------------------------------------------------------------
CLIENTS = Gauge("websocket_clients", "Connected clients of /ws/ticks/")
CLIENT_FRAMES = Counter("websocket_frames_sent", "Frames sent to clients")
CLIENT_SKIPPED = Counter("websocket_updates_skipped", "Updates conflated because a client was slower")
CLIENT_PENDING_BYTES = Gauge("websocket_pending_bytes", "Encoded bytes that wait for clients")
CLIENT_CLOSED = Counter("websocket_clients_closed", "Sockets closed by the service", ["code"])
HEALTH_CLIENTS = Gauge("health_websocket_clients", "Connected clients of /ws/health/")
HEALTH_CLIENTS_CLOSED = Counter("health_websocket_clients_closed", "Sockets closed by the service", ["code"])
HUB_MESSAGES = Counter("hub_messages", "Messages the hub received from Redis")
