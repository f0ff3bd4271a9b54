"""Where `RedisChannelLayer` finds its Redis, on both sides of the fan-out benchmarks."""

from typing import Any


def hosts(address: str) -> list[dict[str, Any]]:
    """With what redis-py 8 needs so that a consumer lives for whom nothing comes, and many leave at once."""
    return [{"address": address, "socket_timeout": None, "max_connections": 2000}]
