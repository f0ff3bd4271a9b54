"""The peer of the fan-out benchmarks: a Channels project as tutorials have it, with a group and `RedisChannelLayer`.

Every client's consumer joins the group of its topic and sends on what comes. `REDIS_URL` says which Redis.
"""

import os

import django
from django.conf import settings

from benchmarks.layer_hosts import hosts

if not settings.configured:
    settings.configure(
        SECRET_KEY="of-a-benchmark",  # noqa: S106 - it opens nothing
        ALLOWED_HOSTS=["*"],
        CHANNEL_LAYERS={
            "default": {
                "BACKEND": "channels_redis.core.RedisChannelLayer",
                "CONFIG": {"hosts": hosts(os.environ.get("REDIS_URL", ""))},
            }
        },
    )
    django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import path


class BatchConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels has no types
    """One client of one topic."""

    async def connect(self) -> None:
        self.group = self.scope["url_route"]["kwargs"]["topic"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def tick_batch(self, event: dict[str, bytes]) -> None:
        await self.send(bytes_data=event["data"])


application = ProtocolTypeRouter({"websocket": URLRouter([path("<slug:topic>/", BatchConsumer.as_asgi())])})
