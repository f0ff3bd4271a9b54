"""WebSocket routes."""

from django.urls import path

from streaming.consumers import TicksConsumer

websocket_urlpatterns = [path("ws/ticks/", TicksConsumer.as_asgi())]
