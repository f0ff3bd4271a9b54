"""What Prometheus is told of orders."""

from prometheus_client import Counter

DOORBELL_MISSED = Counter("orders_doorbell_missed", "Orders that the pump carried out because no worker came")
