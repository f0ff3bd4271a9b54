"""What Prometheus is told of orders."""

from prometheus_client import Counter, Gauge

DOORBELL_MISSED = Counter("orders_doorbell_missed", "Orders that the pump carried out because no worker came")
TRIPS = Counter("orders_trips", "Times that trading was stopped by itself, by the rule that did it", ["code"])
CLOCK_SKEW = Gauge("orders_clock_skew_seconds", "How far this machine's clock is ahead of the database's")

NEWS_REFUSED = Counter("orders_news_refused", "News of orders that were not taken over, by why", ["reason"])
ORPHANS = Counter("orders_orphans", "Orders at the broker with a tag of ours that no task has")
POSTBACKS = Counter("orders_postbacks", "Postbacks, by what became of them", ["result"])
TEXT_FRAMES = Counter("orders_text_frames", "Orders told of in text frames, by what became of them", ["result"])
READINGS = Counter("orders_readings", "Readings of portfolios, by what became of them", ["result"])

# --- WebSocket clients: measured in the web processes ---
NEWS_CLIENTS = Gauge("orders_websocket_clients", "Connected clients of /ws/orders/")
NEWS_ROWS = Counter("orders_websocket_rows_sent", "Rows of news sent to clients")
NEWS_CLIENTS_CLOSED = Counter("orders_websocket_clients_closed", "Sockets closed by the service", ["code"])
