"""Production refuses each unsafe setting, and says which."""

import copy
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from tickerproject.production import problems_of, refuse_unsafe_settings

SAFE: dict[str, Any] = {
    "ENVIRONMENT": "production",
    "DEBUG": False,
    "SECRET_KEY": "nZq3-9vKx2LmT7bRw5YpAeHsUdJfGcVoXi0tQkE8yWlB4",
    "CREDENTIAL_KEYS": ["dGVzdC10ZXN0LXRlc3QtdGVzdC10ZXN0LXRlc3QtdGU="],
    "ALLOWED_HOSTS": ["ticker.example.com"],
    "CSRF_TRUSTED_ORIGINS": ["https://ticker.example.com"],
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "SECURE_SSL_REDIRECT": True,
    "SECURE_PROXY_SSL_HEADER": None,
    "SECURE_HSTS_SECONDS": 31_536_000,
    "USER_SERVICE_URL": "https://users.example.com/api",
    "USER_SERVICE_TOKEN": "x",
    "JWKS_URL": "https://users.example.com/jwks",
    "JWT_ISSUER": "https://users.example.com",
    "JWT_AUDIENCE": "ticker",
    "JWT_ALGORITHMS": ["RS256"],
    "KITE_API_ROOT": "https://api.kite.trade",
    "KITE_WS_ROOT": "wss://ws.kite.trade",
    "KITE_LOGIN_ROOT": "https://kite.zerodha.com",
    "FAILPOINTS": "",
    "ORDER_EGRESS_IP": ["93.184.216.34"],
    "ORDER_BUDGET_PER_SECOND": 8,
    "ORDER_BUDGET_PER_MINUTE": 380,
    "ORDER_BUDGET_WINDOW_SECONDS": 1.1,
    "ORDER_BUDGET_PER_DAY": 4900,
    "ORDER_BUDGET_RESERVE_PER_SECOND": 2,
    "ORDER_BUDGET_RESERVE_PER_MINUTE": 20,
    "ORDER_BUDGET_RESERVE_PER_DAY": 100,
    "DATA_BUDGET_WINDOW_SECONDS": 1.05,
    "DATA_BUDGET_QUOTE": 1,
    "DATA_BUDGET_HISTORICAL": 3,
    "DATA_BUDGET_OTHER": 8,
    "FEED_SOURCE": "live",
    "MARKET_CLOCK": "real",
    "MARKET_CLOCK_SPEED": 1.0,
    "DATABASES": {"default": {"ENGINE": "django_prometheus.db.backends.postgresql", "HOST": "db", "PASSWORD": "x"}},
    "REDIS_URL": "redis://:x@valkey:6379/0",
    "CHANNEL_LAYERS": {"default": {"BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer"}},
    "CACHES": {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache"}},
}
UNSAFE: list[tuple[str, Any]] = [
    ("DEBUG", True),
    ("SECRET_KEY", "short"),
    ("SECRET_KEY", "a" * 60),
    ("SECRET_KEY", "django-insecure-nZq3-9vKx2LmT7bRw5YpAeHsUdJfGcVoXi0tQkE8yWlB4"),
    ("CREDENTIAL_KEYS", [SAFE["SECRET_KEY"]]),
    ("ALLOWED_HOSTS", []),
    ("ALLOWED_HOSTS", ["*"]),
    ("CSRF_TRUSTED_ORIGINS", ["http://ticker.example.com"]),
    ("CSRF_TRUSTED_ORIGINS", ["https://*.example.com"]),
    ("SESSION_COOKIE_SECURE", False),
    ("CSRF_COOKIE_SECURE", False),
    ("SECURE_SSL_REDIRECT", False),
    ("SECURE_HSTS_SECONDS", 0),
    ("JWKS_URL", "http://users.example.com/jwks"),
    ("JWT_ISSUER", ""),
    ("USER_SERVICE_URL", "http://users.example.com/api"),
    ("USER_SERVICE_TOKEN", ""),
    ("JWT_AUDIENCE", ""),
    ("JWT_ALGORITHMS", []),
    ("JWT_ALGORITHMS", ["RS256", "HS256"]),
    ("JWT_ALGORITHMS", ["none"]),
    ("ORDER_EGRESS_IP", []),
    ("ORDER_EGRESS_IP", ["10.0.0.7"]),
    ("ORDER_EGRESS_IP", ["ticker.example.com"]),
    ("ORDER_EGRESS_IP", ["93.184.216.34", "none"]),
    ("ORDER_EGRESS_IP", ["93.184.216.34", "93.184.216.35", "93.184.216.36"]),
    ("KITE_API_ROOT", "http://127.0.0.1:8090"),
    ("KITE_API_ROOT", "https://api.kite.trade.example.com"),
    ("KITE_WS_ROOT", "ws://ws.kite.trade"),
    ("KITE_LOGIN_ROOT", "http://kite.zerodha.com"),
    ("ORDER_BUDGET_PER_SECOND", 11),
    ("ORDER_BUDGET_PER_MINUTE", 401),
    ("ORDER_BUDGET_PER_DAY", 5001),
    ("ORDER_BUDGET_RESERVE_PER_SECOND", 8),
    ("ORDER_BUDGET_WINDOW_SECONDS", 0.9),
    ("DATA_BUDGET_QUOTE", 0),
    ("DATA_BUDGET_WINDOW_SECONDS", 0.5),
    ("FEED_SOURCE", "simulated"),
    ("FAILPOINTS", "order.after_mark=sigkill"),
    ("MARKET_CLOCK", "open"),
    ("MARKET_CLOCK_SPEED", 2.0),
    ("DATABASES", {"default": {"ENGINE": "django.db.backends.sqlite3", "HOST": "db", "PASSWORD": "x"}}),
    ("DATABASES", {"default": {"ENGINE": "x.postgresql", "HOST": "db", "PASSWORD": ""}}),
    ("REDIS_URL", "redis://valkey:6379/0"),
    ("CHANNEL_LAYERS", {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}),
    ("CACHES", {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}),
    ("CELERY_TASK_ALWAYS_EAGER", True),
]


def test_safe_settings_have_no_problem() -> None:
    assert list(problems_of(SimpleNamespace(**SAFE))) == []


@pytest.mark.parametrize(("name", "value"), UNSAFE, ids=[f"{name}-{number}" for number, (name, _) in enumerate(UNSAFE)])
def test_each_unsafe_setting_is_refused_by_its_name(name: str, value: Any) -> None:
    settings = SimpleNamespace(**(copy.deepcopy(SAFE) | {name: value}))
    with pytest.raises(ImproperlyConfigured, match=name.removesuffix("S")):
        refuse_unsafe_settings(settings)
    assert len(list(problems_of(settings))) == 1


def test_a_production_process_with_test_settings_does_not_start() -> None:
    environment = os.environ | {"ENVIRONMENT": "production"}
    command = [sys.executable, "-c", "import tickerproject.asgi"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SECRET_KEY is short, simple or a known default" in done.stderr
