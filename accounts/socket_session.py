"""The session of a WebSocket's cookie, to be read only."""

from collections.abc import Awaitable, Callable, MutableMapping
from importlib import import_module
from typing import Any

from django.conf import settings

Application = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class SessionOfCookie:
    """ASGI middleware: `scope["session"]`, by the cookie that Channels' `CookieMiddleware` found.

    Channels' own one would look after every frame whether the session was changed; here nobody changes it.
    """

    def __init__(self, inner: Application) -> None:
        self._inner = inner
        self._store = import_module(settings.SESSION_ENGINE).SessionStore

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        session = self._store(scope["cookies"].get(settings.SESSION_COOKIE_NAME))
        await self._inner({**scope, "session": session}, receive, send)
