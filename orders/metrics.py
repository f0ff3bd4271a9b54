"""What Prometheus is told of orders."""

from prometheus_client import Counter, Gauge

DOORBELL_MISSED = Counter("orders_doorbell_missed", "Orders that the pump carried out because no worker came")
TRIPS = Counter("orders_trips", "Times that trading was stopped by itself, by the rule that did it", ["code"])
CLOCK_SKEW = Gauge("orders_clock_skew_seconds", "How far this machine's clock is ahead of the database's")
