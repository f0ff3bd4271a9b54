"""What a production process refuses to start with.

Django's `check --deploy` is a command that nobody has to run, and neither ASGI nor Celery runs it. So the same list is
read when the apps are loaded, in every process, and one line names each problem with its cure.
"""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

from accounts.budget_limits import limit_problems
from accounts.credentials import ring_problems
from accounts.jwks import jwt_problems
from accounts.user_service import user_service_problems
from orders.egress import egress_problems

KITE_HOSTS = {
    "KITE_API_ROOT": ("https", "api.kite.trade"),
    "KITE_WS_ROOT": ("wss", "ws.kite.trade"),
    "KITE_LOGIN_ROOT": ("https", "kite.zerodha.com"),
}
LOOPBACK = {"localhost", "127.0.0.1", "::1"}
SHORTEST_SECRET = 40
FEWEST_DIFFERENT_CHARACTERS = 12


def refuse_unsafe_settings(settings: Any) -> None:
    """Return if these settings may serve real money.

    Raises
    ------
    ImproperlyConfigured
        With every problem, a line each.
    """
    problems = list(problems_of(settings))
    if problems:
        listed = "\n".join(f"  - {problem}" for problem in problems)
        raise ImproperlyConfigured(
            f"ENVIRONMENT is {settings.ENVIRONMENT}, and these settings are not safe there:\n{listed}"
        )


def problems_of(settings: Any) -> Iterator[str]:
    """Each unsafe setting as a sentence that begins with its name."""
    if settings.DEBUG:
        yield "DEBUG is on: it shows settings and code to strangers; remove it"
    key = settings.SECRET_KEY
    if (
        len(key) < SHORTEST_SECRET
        or len(set(key)) < FEWEST_DIFFERENT_CHARACTERS
        or key.startswith(("django-insecure", "only-for-tests"))
    ):
        yield "SECRET_KEY is short, simple or a known default: make one with secrets.token_urlsafe(48)"
    for problem in ring_problems(list(settings.CREDENTIAL_KEYS), key):
        yield f"CREDENTIAL_KEYS: {problem}"
    yield from limit_problems(settings)
    yield from _hosts(settings)
    yield from _cookies_and_tls(settings)
    yield from jwt_problems(settings)
    yield from user_service_problems(settings)
    yield from _broker(settings)
    yield from egress_problems(settings)
    yield from _servers(settings)


def _hosts(settings: Any) -> Iterator[str]:
    if not settings.ALLOWED_HOSTS or any(host.startswith("*") for host in settings.ALLOWED_HOSTS):
        yield "ALLOWED_HOSTS is empty or has a wildcard: name the hosts people use"
    for origin in settings.CSRF_TRUSTED_ORIGINS:
        if not origin.startswith("https://") or "*" in origin:
            yield f"CSRF_TRUSTED_ORIGINS has {origin}: write it as https:// and without a wildcard"


def _cookies_and_tls(settings: Any) -> Iterator[str]:
    if not (settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE):
        yield "SESSION_COOKIE_SECURE or CSRF_COOKIE_SECURE is off: a cookie could travel unencrypted"
    if not settings.SECURE_SSL_REDIRECT and settings.SECURE_PROXY_SSL_HEADER is None:
        yield "SECURE_SSL_REDIRECT is off and no BEHIND_TLS_PROXY is set: pages would be served unencrypted"
    if settings.SECURE_HSTS_SECONDS < 31_536_000:
        yield "SECURE_HSTS_SECONDS is under a year"


def _broker(settings: Any) -> Iterator[str]:
    for name, (scheme, host) in KITE_HOSTS.items():
        root = urlsplit(getattr(settings, name))
        if (root.scheme, root.hostname) != (scheme, host):
            yield f"{name} is {root.scheme}://{root.hostname}: production talks to {scheme}://{host} only"
    if settings.FAILPOINTS:
        yield "FAILPOINTS is set: it ends processes in the middle of orders, for tests"
    if settings.FEED_SOURCE != "live":
        yield f"FEED_SOURCE is {settings.FEED_SOURCE}: production shows live prices only"
    if settings.MARKET_CLOCK != "real":
        yield f"MARKET_CLOCK is {settings.MARKET_CLOCK}: production lives in real time"
    if settings.MARKET_CLOCK_SPEED != 1.0:
        yield f"MARKET_CLOCK_SPEED is {settings.MARKET_CLOCK_SPEED}: production lives in real time"


def _servers(settings: Any) -> Iterator[str]:
    database = settings.DATABASES["default"]
    if not database["ENGINE"].endswith("postgresql"):
        yield f"DATABASE_URL is not PostgreSQL but {database['ENGINE']}"
    if database["HOST"] not in LOOPBACK and not database["PASSWORD"]:
        yield "DATABASE_URL has no password, and its server is not on this machine"
    redis = urlsplit(settings.REDIS_URL)
    if redis.hostname not in LOOPBACK and not redis.password:
        yield "REDIS_URL has no password, and its server is not on this machine"
    if "InMemory" in settings.CHANNEL_LAYERS["default"]["BACKEND"]:
        yield "CHANNEL_LAYERS is in memory: processes would not hear each other"
    if "locmem" in settings.CACHES["default"]["BACKEND"]:
        yield "CACHES is in memory: limits would count per process"
    if getattr(settings, "CELERY_TASK_ALWAYS_EAGER", False):
        yield "CELERY_TASK_ALWAYS_EAGER is on: tasks would run inside requests"
