"""The ASGI application: HTTP to Django, WebSockets to Channels."""

import gc
import os

from channels.routing import ProtocolTypeRouter, URLRouter
from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")
django_application = get_asgi_application()

# Only now: the routes import models, which need Django set up.
from channels.sessions import CookieMiddleware  # noqa: E402

from accounts.jwks import start_refresher  # noqa: E402
from accounts.socket_session import SessionOfCookie  # noqa: E402
from orders import routing as orders_routing  # noqa: E402
from streaming import routing as streaming_routing  # noqa: E402

start_refresher()

application = ProtocolTypeRouter(
    {
        "http": django_application,
        # Who is asking, and from which Origin, is decided in accounts (principal_of_scope), not in middleware.
        "websocket": CookieMiddleware(
            SessionOfCookie(
                URLRouter([*streaming_routing.websocket_urlpatterns, *orders_routing.websocket_urlpatterns])
            )
        ),
    }
)

# What is loaded lives as long as the process: the collector need not look through it while ticks are handed on.
gc.collect()
gc.freeze()
