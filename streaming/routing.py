"""WebSocket routes."""

from django.urls import path

from streaming.consumers import TicksConsumer
from streaming.health_consumer import HealthConsumer

websocket_urlpatterns = [
    path("ws/ticks/", TicksConsumer.as_asgi()),
    path("ws/health/", HealthConsumer.as_asgi()),
]
