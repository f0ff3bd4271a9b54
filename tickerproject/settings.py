"""Every setting of the project, and the only place that reads the environment.

Read in this order, the first one wins: the process's environment, `.env` beside this project, and the file that the
one-machine run (`bin/run`) writes into its data folder. `.env.example` lists every name.
"""

import datetime
import sys
import time
from pathlib import Path

import django_stubs_ext
import environ
from celery.schedules import crontab
from django.urls import reverse_lazy

from tickerproject.logs import logging_configuration

django_stubs_ext.monkeypatch()  # before any app is imported

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")
DATA_DIR = Path(env.str("TICKER_DATA_DIR", default=str(BASE_DIR / ".data")))
environ.Env.read_env(DATA_DIR / "runtime.env")

# --- what kind of place this is ---
ENVIRONMENT = env.str("ENVIRONMENT", default="development")
PRODUCTION = ENVIRONMENT in {"production", "staging"}
DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY")
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[] if PRODUCTION else ["localhost", "127.0.0.1", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Fernet keys, the newest first; never derived from SECRET_KEY, never in the database.
CREDENTIAL_KEYS = env.list("CREDENTIAL_KEYS")

# --- apps ---
INSTALLED_APPS = [
    "daphne",  # first: it brings the ASGI `runserver`
    "unfold",  # before the admin, whose templates it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "channels",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_celery_beat",
    "django_prometheus",
    "accounts",
    "market",
    "orders",
    "streaming",
    "dashboard",
    "simulator",
    "tickerproject",
]
MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "tickerproject.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "tickerproject.middleware.ContentSecurityPolicyMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.middleware.AuditActorMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "tickerproject.urls"
ASGI_APPLICATION = "tickerproject.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "dashboard.shell.trading",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# --- PostgreSQL ---
DATABASES = {"default": env.db_url("DATABASE_URL", engine="django_prometheus.db.backends.postgresql")}
DATABASES["default"]["CONN_MAX_AGE"] = 0  # the pool keeps the connections
DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
DATABASES["default"]["OPTIONS"] = {
    "connect_timeout": 3,
    # For `accounts.prepared` alone: Django's own cursors prepare nothing.
    "prepare_threshold": 0,
    "options": "-c statement_timeout=15s -c lock_timeout=2s -c idle_in_transaction_session_timeout=10s",
    "pool": {
        "min_size": env.int("DATABASE_POOL_MIN", default=1),
        "max_size": env.int("DATABASE_POOL_MAX", default=10),
        "timeout": env.float("DATABASE_POOL_TIMEOUT_SECONDS", default=10),
    },
}

# --- Redis (or Valkey): ticks and control on database 0, each other use on its own ---
REDIS_URL = env.str("REDIS_URL")
REDIS_PREFIX = env.str("REDIS_PREFIX", default="ticker")


def redis_database(number: int) -> str:
    """`REDIS_URL` with another database number."""
    base, _, query = REDIS_URL.partition("?")
    scheme, _, rest = base.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0]}/{number}" + (f"?{query}" if query else "")


CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": redis_database(1),
        # What is cached can be done without: a Redis that is silent must not hold up a request.
        "OPTIONS": {"socket_timeout": 1.0, "socket_connect_timeout": 0.5},
    },
}
CHANNEL_LAYERS = {
    "default": {
        # Not the default layer: that one drops messages when a consumer is slow, and dies with its Redis.
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {
            "hosts": [{"address": redis_database(2), "socket_timeout": None}],
            "prefix": f"{REDIS_PREFIX}-layer",
        },
    },
}

# --- Celery ---
CELERY_BROKER_URL = redis_database(3)
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# A message that nobody has answered for so long is delivered again.
CELERY_VISIBILITY_TIMEOUT = env.int("CELERY_VISIBILITY_TIMEOUT_SECONDS", default=120)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "visibility_timeout": CELERY_VISIBILITY_TIMEOUT,
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "health_check_interval": 10,
    "unacked_restore_throttle": 1,
    "global_keyprefix": f"{REDIS_PREFIX}-celery:",
}
CELERY_RESULT_BACKEND_TRANSPORT_OPTIONS = {"visibility_timeout": CELERY_VISIBILITY_TIMEOUT}
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_ROUTES = {
    "orders.reconcile": {"queue": "sync"},
    "orders.sync*": {"queue": "sync"},
    "orders.*": {"queue": "orders"},
    "market.*": {"queue": "market"},
    "streaming.*": {"queue": "market"},
}
CELERY_TIMEZONE = "Asia/Kolkata"
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
# The scheduler keeps these in its table, where the admin may change or switch off what is not listed here.
CELERY_BEAT_SCHEDULE = {
    "Sweep orders": {"task": "orders.sweep", "schedule": 2.0, "options": {"expires": 2}},
    "Look up orders of unknown outcome": {"task": "orders.reconcile", "schedule": 2.0, "options": {"expires": 2}},
    "Read portfolios and what postbacks tell of": {
        "task": "orders.sync",
        "schedule": 2.0,
        "options": {"expires": 2},
    },
    "Forget old postbacks": {
        "task": "orders.forget_postbacks",
        "schedule": crontab(hour=4, minute=20),
        "options": {"expires": 3600},
    },
    "Number and clear away news of orders": {
        "task": "orders.tidy_news",
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "Log in accounts by themselves": {
        "task": "accounts.refresh_tokens",
        "schedule": 60.0,
        "options": {"expires": 50},  # of those that wait for a worker, the last one is enough
    },
    "Fetch the day's instruments": {
        "task": "market.refresh_instruments_when_due",  # which looks whether it is time, and asks the calendar
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "Forget old minutes of option chains": {
        "task": "market.forget_old_chain_minutes",
        "schedule": crontab(hour=4, minute=10),  # in Indian time: every market is closed
        "options": {"expires": 3600},
    },
    "Refill minute bars after outages of the feed": {
        "task": "market.refill_gaps",
        "schedule": 60.0,
        "options": {"expires": 50},
    },
    "Keep strikes around the money": {
        "task": "streaming.rebalance_strikes",
        "schedule": 30.0,
        "options": {"expires": 25},
    },
    "Forget old moves of strikes": {
        "task": "streaming.forget_old_strike_moves",
        "schedule": crontab(hour=4, minute=25),
        "options": {"expires": 3600},
    },
    "Make and drop months of minute bars": {
        "task": "market.keep_bar_months",
        "schedule": crontab(hour=4, minute=15),
        "options": {"expires": 3600},
    },
}

# --- people and programs ---
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]
# The first one knows nobody; it ends the matter where too many wrong passwords come from.
AUTHENTICATION_BACKENDS = ["accounts.guesses.GuessLimit", "django.contrib.auth.backends.ModelBackend"]
# Wrong passwords, keys and tokens from one address, per minute.
AUTH_FAILURES_PER_MINUTE = env.int("AUTH_FAILURES_PER_MINUTE", default=10)
# Where people reach this service: the beginning of a login link that is printed.
WEB_ADDRESS = env.str("WEB_ADDRESS", default="http://127.0.0.1:8080")
LOGIN_URL = reverse_lazy("accounts:login")
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = LOGIN_URL
SESSION_COOKIE_NAME = "ticker_session"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = PRODUCTION
SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=PRODUCTION)
SECURE_HSTS_SECONDS = 31_536_000 if PRODUCTION else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = PRODUCTION
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if env.bool("BEHIND_TLS_PROXY", default=False) else None
# Other hosts are told nothing. Not "no-referrer": browsers then send `Origin: null` with our own forms, all refused.
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 * 1024

# JWTs of an outside user service: off without JWKS_URL. Which subject is whom, an administrator says.
JWKS_URL = env.str("JWKS_URL", default="")
JWT_ISSUER = env.str("JWT_ISSUER", default="")
JWT_AUDIENCE = env.str("JWT_AUDIENCE", default="")
JWT_ALGORITHMS = env.list("JWT_ALGORITHMS", default=["RS256"])

# The outside user service that keeps trading accounts (`manage.py import_accounts --user-service`): off without URL.
USER_SERVICE_URL = env.str("USER_SERVICE_URL", default="")
USER_SERVICE_TOKEN = env.str("USER_SERVICE_TOKEN", default="")
USER_SERVICE_TIMEOUT_SECONDS = env.float("USER_SERVICE_TIMEOUT_SECONDS", default=5.0)

# --- REST ---
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "accounts.authentication.ApiKeyAuthentication",
        "accounts.authentication.TokenAuthentication",
        "accounts.authentication.BrowserSessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["accounts.permissions.MayRead"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["tickerproject.api.parsers.StrictJSONParser"],
    "DEFAULT_PAGINATION_CLASS": "tickerproject.api.pagination.Page",
    "DEFAULT_THROTTLE_CLASSES": [
        "tickerproject.api.throttling.PrincipalThrottle",
        "tickerproject.api.throttling.ScopeThrottle",
    ],
    "DEFAULT_THROTTLE_RATES": {
        "principal": env.str("API_THROTTLE_RATE", default="600/min"),
        "instrument-refresh": "5/hour",
    },
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "tickerproject.api.errors.handle",
    "NUM_PROXIES": env.int("NUM_PROXIES", default=0),
    "UNAUTHENTICATED_USER": None,
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "ticker",
    "DESCRIPTION": "Market data and orders for Zerodha's Kite Connect",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SERVE_PERMISSIONS": ["accounts.permissions.MayRead"],
    "SERVE_AUTHENTICATION": None,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "REDOC_DIST": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "ActionEnum": "accounts.actions.Action.choices",
        "AccountStateEnum": [("enabled", "Enabled"), ("disabled", "Disabled")],
        "BreakerStateEnum": ["closed", "half_open", "open"],
        "SessionStateEnum": ["none", "active", "expired", "ended"],
        "OrderStateEnum": "orders.states.Status.choices",
        "TradingStateEnum": [("active", "Active"), ("reducing", "exits only"), ("halted", "Halted")],
        "OrderOperationEnum": "orders.states.Operation.choices",
        "DerivativesExchangeEnum": ["NFO", "BFO", "CDS", "BCD", "MCX"],
        "ExchangeEnum": [
            "NSE",
            "BSE",
            "NFO",
            "BFO",
            "CDS",
            "BCD",
            "MCX",
            "NCO",
            "NSEIX",
            "GLOBAL",
            "INDICES",
        ],
        "OptionTypeEnum": ["CE", "PE"],
        "InstrumentTypeEnum": ["EQ", "FUT", "CE", "PE"],
        "NumberSourceEnum": ["given", "market", "model"],
        "SpotSourceEnum": ["given", "market"],
        "RequestedModeEnum": [("ltp", "LTP"), ("quote", "Quote"), ("full", "Full")],
        "FeedSourceEnum": ["live", "simulated", "replay"],
        "PricingModelEnum": ["black-76", "black-scholes-merton"],
    },
}

# --- static files: hashed names, so that browsers may keep them for ever ---
STATIC_URL = "/static/"
STATIC_ROOT = Path(env.str("STATIC_ROOT", default=str(DATA_DIR / "static")))
# Without collected files (tests, `bin/run`) the apps' own folders are served as they are.
COLLECTED = (STATIC_ROOT / "staticfiles.json").exists() or "collectstatic" in sys.argv
WHITENOISE_USE_FINDERS = not COLLECTED
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "tickerproject.static.HashedStaticFilesStorage"
        if COLLECTED
        else "django.contrib.staticfiles.storage.StaticFilesStorage"
    },
}

# --- language and time ---
LANGUAGE_CODE = "en-gb"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "Asia/Kolkata"  # what people are shown; the database stores UTC

# --- market time (accounts.clock); the simulator is given the same three ---
MARKET_CLOCK = env.str("MARKET_CLOCK", default="real")
MARKET_CLOCK_SPEED = env.float("MARKET_CLOCK_SPEED", default=1.0)
MARKET_CLOCK_ANCHOR = env.float("MARKET_CLOCK_ANCHOR", default=0.0) or time.time()
MARKET_DATA_DIR = BASE_DIR / "market" / "data"

# --- instruments ---
# From when on, in India, a day's dump is fetched: the broker makes it every morning before that.
INSTRUMENT_REFRESH_AT = datetime.time.fromisoformat(env.str("INSTRUMENT_REFRESH_AT", default="08:35"))
# How many instruments a process keeps at hand, and for how long.
INSTRUMENT_CACHE_SIZE = env.int("INSTRUMENT_CACHE_SIZE", default=20_000)
INSTRUMENT_CACHE_SECONDS = env.float("INSTRUMENT_CACHE_SECONDS", default=300.0)
# For how long the broker's quote of an instrument stands for another call.
QUOTE_KEPT_SECONDS = env.float("QUOTE_KEPT_SECONDS", default=1.0)

# --- the broker ---
KITE_API_ROOT = env.str("KITE_API_ROOT", default="https://api.kite.trade")
KITE_WS_ROOT = env.str("KITE_WS_ROOT", default="wss://ws.kite.trade")
KITE_LOGIN_ROOT = env.str("KITE_LOGIN_ROOT", default="https://kite.zerodha.com")
KITE_TIMEOUT_SECONDS = env.float("KITE_TIMEOUT_SECONDS", default=7.0)
# How long a call may wait for its turn before it is told when to come again.
KITE_PATIENCE_SECONDS = env.float("KITE_PATIENCE_SECONDS", default=2.0)
# Calls of one account at once, over all processes; the kept one is for cancels and exits.
KITE_PLACES = env.int("KITE_PLACES", default=2)
KITE_PLACES_KEPT = env.int("KITE_PLACES_KEPT", default=1)

# --- what may be asked of the broker; its own limits are ceilings that none of these passes ---
ORDER_BUDGET_PER_SECOND = env.int("ORDER_BUDGET_PER_SECOND", default=8)
# How long that "second" is: longer by as much as the time between counting an order and its arrival may vary.
ORDER_BUDGET_WINDOW_SECONDS = env.float("ORDER_BUDGET_WINDOW_SECONDS", default=1.1)
ORDER_BUDGET_PER_MINUTE = env.int("ORDER_BUDGET_PER_MINUTE", default=380)
ORDER_BUDGET_PER_DAY = env.int("ORDER_BUDGET_PER_DAY", default=4900)
# The part of each that only cancels and exits may use.
ORDER_BUDGET_RESERVE_PER_SECOND = env.int("ORDER_BUDGET_RESERVE_PER_SECOND", default=1)
ORDER_BUDGET_RESERVE_PER_MINUTE = env.int("ORDER_BUDGET_RESERVE_PER_MINUTE", default=20)
ORDER_BUDGET_RESERVE_PER_DAY = env.int("ORDER_BUDGET_RESERVE_PER_DAY", default=100)
ORDER_BUDGET_WITHOUT_REDIS_PER_SECOND = env.int("ORDER_BUDGET_WITHOUT_REDIS_PER_SECOND", default=2)
# Data calls of one API key in any window of this length.
DATA_BUDGET_WINDOW_SECONDS = env.float("DATA_BUDGET_WINDOW_SECONDS", default=1.05)
DATA_BUDGET_QUOTE = env.int("DATA_BUDGET_QUOTE", default=1)
DATA_BUDGET_HISTORICAL = env.int("DATA_BUDGET_HISTORICAL", default=3)
DATA_BUDGET_OTHER = env.int("DATA_BUDGET_OTHER", default=8)
# How many processes may share an API key while Redis is away and they cannot see each other.
DATA_BUDGET_PROCESSES = env.int("DATA_BUDGET_PROCESSES", default=4)

# --- breakers: when a broker that fails is left alone ---
BREAKER_FAILURES = env.int("BREAKER_FAILURES", default=5)
BREAKER_OPEN_SECONDS = env.float("BREAKER_OPEN_SECONDS", default=60.0)
BREAKER_SUCCESSES = env.int("BREAKER_SUCCESSES", default=3)
BREAKER_PROBE_SECONDS = env.float("BREAKER_PROBE_SECONDS", default=10.0)

# --- orders ---
# How long a worker may hold an order, and which share of it may pass before it must not send any more.
ORDER_LEASE_SECONDS = env.float("ORDER_LEASE_SECONDS", default=20.0)
ORDER_FENCE_SHARE = env.float("ORDER_FENCE_SHARE", default=0.6)
# An order of unknown outcome is first looked for after so long, and proven absent only after the window.
ORDER_RECONCILE_FIRST_SECONDS = env.float("ORDER_RECONCILE_FIRST_SECONDS", default=0.5)
ORDER_ABSENCE_SECONDS = env.float("ORDER_ABSENCE_SECONDS", default=120.0)
ORDER_UNRESOLVED_SECONDS = env.float("ORDER_UNRESOLVED_SECONDS", default=900.0)
# An order at the market's price (or IOC) that could not be sent for so long is not sent any more.
ORDER_MARKET_VALID_SECONDS = env.float("ORDER_MARKET_VALID_SECONDS", default=60.0)
# How many requests of one process may wait for their order's outcome (`?wait=`).
ORDER_WAITERS = env.int("ORDER_WAITERS", default=20)
# The public addresses that orders leave from, as registered with the broker (two at most); none: no orders are sent.
ORDER_EGRESS_IP = env.list("ORDER_EGRESS_IP", default=[])
# What stops an account's new orders by itself until a person resumes it (docs/risk.md); false or 0: nothing does.
ORDER_TRIP_DUPLICATE = env.bool("ORDER_TRIP_DUPLICATE", default=True)
ORDER_TRIP_ORPHAN = env.bool("ORDER_TRIP_ORPHAN", default=True)
ORDER_TRIP_AUDIT = env.bool("ORDER_TRIP_AUDIT", default=True)
ORDER_TRIP_DAY_LOSS = env.bool("ORDER_TRIP_DAY_LOSS", default=True)
# So many unknown outcomes, or answers "too many requests", of an account within a minute.
ORDER_TRIP_UNKNOWN = env.int("ORDER_TRIP_UNKNOWN", default=10)
ORDER_TRIP_RATE_LIMITED = env.int("ORDER_TRIP_RATE_LIMITED", default=50)
# So far apart may a machine's clock and the database's be; beyond it everything is halted.
ORDER_TRIP_CLOCK_SKEW_SECONDS = env.float("ORDER_TRIP_CLOCK_SKEW_SECONDS", default=5.0)
# How often orders, trades and positions of an account are read in market hours, whatever news come in between; and how
# long the broker must insist on an answer that lacks what is known before it is believed.
ORDER_SYNC_SECONDS = env.float("ORDER_SYNC_SECONDS", default=30.0)
ORDER_DOUBT_SECONDS = env.float("ORDER_DOUBT_SECONDS", default=60.0)
# Postbacks taken of one app in a minute, and how long they are kept.
POSTBACKS_PER_MINUTE = env.int("POSTBACKS_PER_MINUTE", default=1200)
POSTBACK_DAYS = env.int("POSTBACK_DAYS", default=30)
# How many days a WebSocket client may have been away and still be sent all that it missed.
ORDER_NEWS_DAYS = env.int("ORDER_NEWS_DAYS", default=7)
# For tests: where to end or stop a process. Production refuses it.
FAILPOINTS = env.str("FAILPOINTS", default="")

# --- Greeks ---
GREEKS_RATE = env.float("GREEKS_RATE", default=0.10)
GREEKS_DIVIDEND_YIELD = env.float("GREEKS_DIVIDEND_YIELD", default=0.0)
GREEKS_UNDERLYING_SOURCE = env.str("GREEKS_UNDERLYING_SOURCE", default="parity-forward")
GREEKS_OPTION_PRICE = env.str("GREEKS_OPTION_PRICE", default="middle")
# How long the history of option chains (a row per expiry and minute) is kept.
CHAIN_HISTORY_DAYS = env.int("CHAIN_HISTORY_DAYS", default=400)
# How long whole chains (the same, with every strike) are kept: about 12 kB a minute and expiry of 100 strikes.
CHAIN_SNAPSHOT_DAYS = env.int("CHAIN_SNAPSHOT_DAYS", default=400)
# How long minute bars are kept; they go by whole months.
MINUTE_BARS_DAYS = env.int("MINUTE_BARS_DAYS", default=800)
# Of how many instruments minute bars are refilled in a minute after an outage: one call of the broker's budget each.
GAP_REFILL_INSTRUMENTS = env.int("GAP_REFILL_INSTRUMENTS", default=60)

# --- the stream ---
FEED_SOURCE = env.str("FEED_SOURCE", default="live")  # live | simulated | replay
STREAM_WINDOW_MS = env.int("STREAM_WINDOW_MS", default=100)
STREAM_WINDOW_PACKETS = env.int("STREAM_WINDOW_PACKETS", default=1000)
# The least time between two frames to one WebSocket client: a little under the window, so that each one gets through.
STREAM_FRAME_MS = env.int("STREAM_FRAME_MS", default=80)
STREAM_LINK_SILENCE_SECONDS = env.float("STREAM_LINK_SILENCE_SECONDS", default=10.0)
# A socket's lease, and how long after its last renewal nobody else opens the socket: the broker may still count it.
STREAM_LEASE_SECONDS = env.float("STREAM_LEASE_SECONDS", default=15.0)
STREAM_DRAIN_SECONDS = env.float("STREAM_DRAIN_SECONDS", default=25.0)
STREAM_SINGLE_INSTANCE = env.bool("STREAM_SINGLE_INSTANCE", default=False)
STREAM_CHANNELS_GROUPS = env.bool("STREAM_CHANNELS_GROUPS", default=True)
STREAM_METRICS_PORT = env.int("STREAM_METRICS_PORT", default=0)  # 0: none
STREAM_DEPTH_LEVELS = env.int("STREAM_DEPTH_LEVELS", default=1)  # of the order book in every line, 1 to 5
STREAM_STALE_SECONDS = env.float("STREAM_STALE_SECONDS", default=5.0)
# Of how many instruments the last session's minutes are fetched when a stream starts; 0: of none.
STREAM_BOOTSTRAP_INSTRUMENTS = env.int("STREAM_BOOTSTRAP_INSTRUMENTS", default=200)
# How long the ledger of strikes that rules moved is kept.
STRIKE_MOVE_DAYS = env.int("STRIKE_MOVE_DAYS", default=90)

# --- the broker's simulator (`manage.py run_simulator`) ---
SIMULATOR_HOST = env.str("SIMULATOR_HOST", default="127.0.0.1")
SIMULATOR_PORT = env.int("SIMULATOR_PORT", default=8090)
SIMULATOR_SEED = env.int("SIMULATOR_SEED", default=20261125)
SIMULATOR_ROWS = env.int("SIMULATOR_ROWS", default=30_000)
SIMULATOR_ACTIVITY = env.float("SIMULATOR_ACTIVITY", default=1.0)
SIMULATOR_FRAME_MS = env.int("SIMULATOR_FRAME_MS", default=100)
SIMULATOR_ORDER_MS = env.int("SIMULATOR_ORDER_MS", default=20)
SIMULATOR_POSTBACK_URL = env.str("SIMULATOR_POSTBACK_URL", default="")
SIMULATOR_ACCOUNTS_FILE = env.str("SIMULATOR_ACCOUNTS_FILE", default="")
# Where the day's trading is kept over a restart; "": it begins anew.
SIMULATOR_STATE_FILE = env.str("SIMULATOR_STATE_FILE", default="")
SIMULATOR_CONTROL_TOKEN = env.str("SIMULATOR_CONTROL_TOKEN", default="")  # "": no control API
# The broker's rules, each a switch.
SIMULATOR_TOKEN_FLUSH = env.bool("SIMULATOR_TOKEN_FLUSH", default=True)
SIMULATOR_RATE_LIMITS = env.bool("SIMULATOR_RATE_LIMITS", default=True)
SIMULATOR_CANDLE_WINDOWS = env.bool("SIMULATOR_CANDLE_WINDOWS", default=True)
SIMULATOR_SESSION_CHECKS = env.bool("SIMULATOR_SESSION_CHECKS", default=True)
SIMULATOR_MARKET_PROTECTION = env.bool("SIMULATOR_MARKET_PROTECTION", default=True)
SIMULATOR_FUNDS_REFUSED_AT_ONCE = env.bool("SIMULATOR_FUNDS_REFUSED_AT_ONCE", default=False)
SIMULATOR_ORDER_COOL_DOWN = env.bool("SIMULATOR_ORDER_COOL_DOWN", default=False)
SIMULATOR_SECOND_LOGIN_REPLACES = env.bool("SIMULATOR_SECOND_LOGIN_REPLACES", default=True)
SIMULATOR_DEAD_TOKEN_CLOSES_FEED = env.bool("SIMULATOR_DEAD_TOKEN_CLOSES_FEED", default=True)
SIMULATOR_REDIRECT_URL = env.str("SIMULATOR_REDIRECT_URL", default="http://127.0.0.1:8080/accounts/kite/callback/")

# --- logs ---
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json")  # json | console
LOGGING_CONFIG = "logging.config.dictConfig"
LOGGING = logging_configuration(level=LOG_LEVEL, form=LOG_FORMAT)

# --- the admin's look ---
UNFOLD = {
    "SITE_TITLE": "ticker",
    "SITE_HEADER": "ticker",
    "SITE_URL": "/",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": "/static/dashboard/favicon.svg"}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "ENVIRONMENT": "tickerproject.admin.environment_badge",
}
