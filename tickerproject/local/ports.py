"""Free ports on this machine."""

import socket

LOOPBACK = "127.0.0.1"
TRIES = 200


class NoFreePort(Exception):
    """Every port that was tried is taken."""


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen on `host:port` now."""
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def next_free(port: int, host: str = LOOPBACK, taken: frozenset[int] = frozenset()) -> int:
    """`port` itself, or the next free one after it that is not in `taken`.

    Raises
    ------
    NoFreePort
        If none of the next 200 is free.
    """
    for candidate in range(port, min(port + TRIES, 65536)):
        if candidate not in taken and is_free(candidate, host):
            return candidate
    raise NoFreePort(
        f"no port from {port} to {port + TRIES} is free on {host}: stop what uses them or choose another with --port"
    )


def any_free(host: str = LOOPBACK) -> int:
    """A port that was free a moment ago, chosen by the system."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
