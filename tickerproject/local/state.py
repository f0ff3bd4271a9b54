"""The data folder: one owner at a time, its secrets, and the file that tells other processes where the servers are."""

import fcntl
import os
import secrets
import shutil
from pathlib import Path
from typing import IO

from cryptography.fernet import Fernet

SECRETS = "secrets.env"
RUNTIME = "runtime.env"
LOCK = "lock"


class DataFolderError(Exception):
    """The data folder cannot be used; the message says why and what to do."""


class DataFolder:
    """The folder that holds everything this run keeps. Open it before use; the lock ends with the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    def open(self) -> None:
        """Create the folder (mode 0700) and take its lock.

        Raises
        ------
        DataFolderError
            If it is not writable, or another run has it.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self.path.chmod(0o700)
            lock = (self.path / LOCK).open("a+")
        except OSError as exc:
            raise DataFolderError(
                f"the data folder {self.path} is not writable ({exc.strerror}): choose another with --data DIR"
            ) from exc
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            owner = lock.read().strip() or "another process"
            lock.close()
            raise DataFolderError(
                f"{self.path} is in use by process {owner}: stop it (Ctrl-C there), or choose another with --data DIR"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        self._lock = lock

    def reset(self) -> None:
        """Delete everything in the folder but the lock."""
        for entry in self.path.iterdir():
            if entry.name == LOCK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def secrets(self) -> dict[str, str]:
        """SECRET_KEY and CREDENTIAL_KEYS of this installation, made on the first run."""
        path = self.path / SECRETS
        if not path.exists():
            write_private(
                path, {"SECRET_KEY": secrets.token_urlsafe(48), "CREDENTIAL_KEYS": Fernet.generate_key().decode()}
            )
        return read_env(path)

    def write_runtime(self, values: dict[str, str]) -> None:
        """Tell other processes (`manage.py …` in a second terminal) what this run uses."""
        write_private(self.path / RUNTIME, values)


def write_private(path: Path, values: dict[str, str]) -> None:
    """Write `NAME='value'` lines, readable by the owner only, whole or not at all."""
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    new.touch(mode=0o600)
    new.write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))
    new.replace(path)


def read_env(path: Path) -> dict[str, str]:
    """What `write_private` wrote."""
    lines = (line.partition("=") for line in path.read_text().splitlines() if line)
    return {name: value.strip("'") for name, _, value in lines}
