"""The day's trading, kept in a file over a restart: a broker does not forget orders because a program was stopped.

Pickled, since the file is the simulator's own; only its own classes are read back. Instruments are kept by name and
looked up in the market that is running then. A file of another day or of another version is left aside: the accounts
begin anew, as they do on a new day of the simulated market's clock.
"""

import logging
import os
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

from simulator.trading.desk import Desk
from simulator.trading.listings import Listing, Listings

logger = logging.getLogger(__name__)

VERSION = 1


class _Writer(pickle.Pickler):
    def persistent_id(self, obj: Any) -> Any:
        return (obj.exchange, obj.tradingsymbol) if isinstance(obj, Listing) else None


class _Reader(pickle.Unpickler):
    def __init__(self, file: BytesIO, listings: Listings) -> None:
        super().__init__(file)
        self._listings = listings

    def persistent_load(self, pid: Any) -> Listing:
        found = self._listings.find(*pid)
        if found is None:
            raise pickle.UnpicklingError(f"{':'.join(pid)} is not traded any more")
        return found

    def find_class(self, module: str, name: str) -> Any:
        if not module.startswith("simulator."):
            raise pickle.UnpicklingError(f"{module}.{name} is none of the simulator's")
        return super().find_class(module, name)


class Memory:
    """One desk's file. Belongs to the desk's event loop."""

    def __init__(self, path: Path, desk: Desk) -> None:
        self._path = path
        self._desk = desk
        self._kept = -1

    def keep(self) -> None:
        """Write the file, if anything has happened since it was written: the old one is there until the new one is."""
        changes = self._desk.lifecycle.changes
        if changes == self._kept:
            return
        buffer = BytesIO()
        _Writer(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump((VERSION, self._day(), self._desk.state()))
        half = self._path.with_suffix(".half")
        half.write_bytes(buffer.getvalue())
        os.replace(half, self._path)
        self._kept = changes

    def recall(self) -> bool:
        """Go on where the file ends. Whether there was anything to go on with."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return False
        try:
            version, day, state = _Reader(BytesIO(content), self._desk.listings).load()
        except Exception as exc:  # noqa: BLE001 - a damaged pickle raises what it likes
            logger.warning("%s cannot be read, and trading begins anew: %r", self._path, exc)
            return False
        if (version, day) != (VERSION, self._day()):
            logger.info("%s is of %s: trading begins anew", self._path, day)
            return False
        self._desk.go_on(state)
        return True

    def _day(self) -> str:
        return self._desk.listings.market.day.isoformat()
