"""The real `/ws/health/` for a page under test. Its messages are carried by hand: the test server has no sockets."""

import asyncio
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from asgiref.sync import sync_to_async
from channels.routing import URLRouter
from channels.sessions import SessionMiddlewareStack
from channels.testing import WebsocketCommunicator
from django.db import connections
from playwright.async_api import Error, WebSocketRoute

from streaming.routing import websocket_urlpatterns


@dataclass
class HealthSocket:
    """Takes the page's sockets. `is_cut`: they close, as when the server is away; `is_mute`: they bring nothing."""

    address: str
    cookie: str
    is_cut: bool = False
    is_mute: bool = False
    opened: int = 0
    tasks: list["asyncio.Task[None]"] = field(default_factory=list)

    def connected(self, route: WebSocketRoute) -> None:
        self.opened += 1
        self.tasks.append(asyncio.create_task(self._carry(route)))

    async def _carry(self, route: WebSocketRoute) -> None:
        host = urlsplit(self.address).netloc
        headers = [(b"host", host.encode()), (b"origin", self.address.encode()), (b"cookie", self.cookie.encode())]
        application = SessionMiddlewareStack(URLRouter(websocket_urlpatterns))
        communicator = WebsocketCommunicator(application, "/ws/health/", headers=headers)
        await communicator.connect(timeout=5)
        try:
            while not self.is_cut:
                # Not `receive_output`, which ends the application when nothing comes in time.
                if self.is_mute or communicator.output_queue.empty():
                    await asyncio.sleep(0.02)
                    continue
                event = communicator.output_queue.get_nowait()
                if event["type"] == "websocket.close":
                    await route.close(code=event["code"])
                    return
                route.send(event["text"])
            await route.close(code=1001)
        except Error:
            pass  # the page is gone
        finally:
            await communicator.disconnect(timeout=5)

    async def end(self) -> None:
        self.is_cut = True
        await asyncio.gather(*self.tasks, return_exceptions=True)
        # The communicator keeps Channels from closing connections, and the test database could not go.
        await sync_to_async(connections.close_all)()
