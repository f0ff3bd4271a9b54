"""The broker's instrument dump: bytes in, rows ready for COPY and a list of what could not be read out. Pure.

The dump is a CSV of twelve named columns, one instrument a line (Kite Connect v3 documentation, "Market quotes and
instruments"). It is read line by line on purpose: a stray quote then breaks its own line and not the rest of the file.
"""

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from market.exceptions import InstrumentsRefused

COLUMNS: Final = (
    "instrument_token",
    "exchange_token",
    "tradingsymbol",
    "name",
    "expiry",
    "strike",
    "tick_size",
    "lot_size",
    "instrument_type",
    "segment",
    "exchange",
)  # and last_price, which is 0 in the dump and not kept

_MOST_BYTES: Final = 128 * 1024 * 1024
_LARGEST_TOKEN: Final = 2**32 - 1  # four bytes on the wire
_LARGEST_LOT: Final = 2**31 - 1
_PRICE: Final = re.compile(r"[0-9]{1,10}(?:\.[0-9]{1,4}0*)?", re.ASCII)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST: Final = {
    "exchange_token": 32,
    "tradingsymbol": 64,
    "name": 128,
    "instrument_type": 8,
    "segment": 16,
    "exchange": 16,
}


class BrokenRow(ValueError):
    """A row that cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row that was left out."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(slots=True)
class Dump:
    """A whole dump, read. `lines` are in COPY's text format, columns as in `COLUMNS`."""

    lines: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    per_exchange: Counter[str] = field(default_factory=Counter)
    # Who stands in the broken rows, as far as that can be made out: listed all the same, so not to be taken for gone.
    broken_symbols: set[tuple[str, str]] = field(default_factory=set)
    broken_tokens: set[int] = field(default_factory=set)


def join(chunks: Iterable[bytes]) -> bytes:
    """The dump in one piece.

    Raises
    ------
    InstrumentsRefused
        If it is larger than any dump can be.
    """
    content = bytearray()
    for chunk in chunks:
        content += chunk
        if len(content) > _MOST_BYTES:
            raise InstrumentsRefused(f"the dump is larger than {_MOST_BYTES >> 20} MiB: this is something else")
    return bytes(content)


def read_dump(content: bytes) -> Dump:
    """Read a dump. Rows that cannot be read are left out and reported with their line number, the header being line 1.

    Raises
    ------
    InstrumentsRefused
        If the dump is empty, cut off, not a dump, or broken in more than half of its rows.
    """
    if not content.strip():
        raise InstrumentsRefused("the dump is empty")
    if not content.endswith(b"\n"):
        raise InstrumentsRefused("the dump is cut off: its last line has no end")
    header, *body = content.removeprefix(b"\xef\xbb\xbf").split(b"\n")[:-1]
    pick, width = _columns(header)

    dump = Dump()
    seen: set[tuple[str, str]] = set()
    expiries: dict[str, str] = {"": r"\N"}
    for number, raw in enumerate(body, start=2):
        cells: Sequence[str] = ()
        try:
            cells = _cells(raw, width)
            row = [cells[i] for i in pick]
            line = _copy_line(row, expiries)
            key = (row[-1], row[2])
            if key in seen:
                raise BrokenRow(f"{row[-1]}:{row[2]} was listed before")
        except BrokenRow as exc:
            dump.problems.append(Problem(number, str(exc)))
            if cells:
                dump.broken_symbols.add((cells[pick[-1]], cells[pick[2]]))
            elif (token := raw.decode("ascii", "replace").split(",")[pick[0] : pick[0] + 1]) and _is_number(token[0]):
                dump.broken_tokens.add(int(token[0]))
            continue
        seen.add(key)
        dump.lines.append(line)
        dump.per_exchange[row[-1]] += 1

    if not body:
        raise InstrumentsRefused("the dump has a header and no rows")
    if len(dump.lines) <= len(dump.problems):
        raise InstrumentsRefused(
            f"{len(dump.problems)} of {len(body)} rows cannot be read, the first: {dump.problems[0]}; "
            "has the form changed?"
        )
    return dump


def _columns(header: bytes) -> tuple[list[int], int]:
    """Where each of `COLUMNS` stands, and how many columns there are. Found by name: their order may change."""
    names = header.decode("utf-8", "replace").strip("\r").split(",")
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InstrumentsRefused(
            f"the first line, {header[:60].decode('utf-8', 'replace')!r}, is not a dump's header: "
            f"it lacks {', '.join(missing)}"
        )
    return [names.index(name) for name in COLUMNS], len(names)


def _cells(raw: bytes, width: int) -> Sequence[str]:
    try:
        text = raw.decode().removesuffix("\r")
    except UnicodeDecodeError:
        raise BrokenRow("it is not UTF-8") from None
    if _CONTROL.search(text):
        raise BrokenRow("it holds a control character")
    if '"' in text:
        try:
            cells = next(csv.reader([text], strict=True))
        except csv.Error as exc:
            raise BrokenRow(f"its quotes do not match ({exc})") from None
    else:
        cells = text.split(",")
    if len(cells) != width:
        raise BrokenRow(f"it has {len(cells)} columns, not {width}")
    return cells


def _copy_line(row: list[str], expiries: dict[str, str]) -> str:
    """A row in COPY's text format. `expiries` keeps the dates that were checked before: there are few, on many rows."""
    token, exchange_token, tradingsymbol, name, expiry, strike, tick_size, lot_size, *kind = row
    instrument_type, segment, exchange = kind
    if not (_is_number(token) and 0 < int(token) <= _LARGEST_TOKEN):
        raise BrokenRow(f"instrument_token is {token[:40]!r}")
    if not (_is_number(lot_size) and int(lot_size) <= _LARGEST_LOT):
        raise BrokenRow(f"lot_size is {lot_size[:40]!r}")
    for column, price in (("strike", strike), ("tick_size", tick_size)):
        if not _PRICE.fullmatch(price):
            raise BrokenRow(f"{column} is {price[:40]!r}")
    if not (tradingsymbol and instrument_type and segment and exchange):
        raise BrokenRow("tradingsymbol, instrument_type, segment or exchange is empty")
    if expiry not in expiries:
        expiries[expiry] = _checked_date(expiry)
    if instrument_type in ("CE", "PE") and not (expiry and float(strike) > 0):
        raise BrokenRow(f"it is an option without {'a strike' if expiry else 'an expiry'}")
    for (column, longest), text in zip(
        _LONGEST.items(), (exchange_token, tradingsymbol, name, instrument_type, segment, exchange), strict=True
    ):
        if len(text) > longest:
            raise BrokenRow(f"{column} is longer than {longest} characters")
    # Control characters, which COPY would have to be told about, were refused before; the backslash is left.
    texts = "\t".join((exchange_token, tradingsymbol, name)).replace("\\", r"\\")
    terms = "\t".join((expiries[expiry], strike, tick_size, lot_size))
    kinds = "\t".join((instrument_type, segment, exchange)).replace("\\", r"\\")
    return f"{token}\t{texts}\t{terms}\t{kinds}\n"


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def _checked_date(text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise BrokenRow(f"expiry is {text[:40]!r}, not a date like 2026-12-01") from None
