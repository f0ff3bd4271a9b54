"""WebSocket routes."""

from django.urls import path

from orders.consumers import OrdersConsumer

websocket_urlpatterns = [
    path("ws/orders/", OrdersConsumer.as_asgi()),
    path("ws/orders/<uuid:account>", OrdersConsumer.as_asgi()),
    path("ws/orders/<uuid:account>/", OrdersConsumer.as_asgi()),
]
