"""Values for the settings that have no default, for tools and tests. None of them opens anything."""

import os

TEST_ENVIRONMENT = {
    "ENVIRONMENT": "test",
    "SECRET_KEY": "only-for-tests-and-type-checks-" + "x" * 32,
    # base64 of 32 fixed bytes: a valid Fernet key that nobody would mistake for a secret
    "CREDENTIAL_KEYS": "dGVzdC10ZXN0LXRlc3QtdGVzdC10ZXN0LXRlc3QtdGU=",
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/none",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "FEED_SOURCE": "simulated",
    "TICKER_DATA_DIR": "/nonexistent",
    "MARKET_CLOCK": "2026-11-25T10:42:00+05:30",
}


def fill() -> None:
    """Set what is not set yet."""
    for name, value in TEST_ENVIRONMENT.items():
        os.environ.setdefault(name, value)
