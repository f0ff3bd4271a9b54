"""Take over the broker's instrument dump: all of it or nothing, in one transaction.

COPY into a temporary table and three set-based statements: 115,000 rows row by row would take minutes, and would let
readers see half a dump.
"""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from django.db import connection, transaction

from accounts import clock
from market import instrument_cache
from market.dump import COLUMNS, Dump, join, read_dump
from market.exceptions import ImportAlreadyRunning, InstrumentsRefused
from market.models import InstrumentImport

logger = logging.getLogger(__name__)

Step = Callable[[str], None]

# An exchange with fewer rows than this may lose most of them on a normal day of expiry.
JUDGED_FROM_ROWS: Final = 1000
LEAST_SHARE_KEPT: Final = 0.5
PROBLEMS_KEPT: Final = 100
_STATEMENT_TIMEOUT: Final = "120s"
_COPY_CHUNK_LINES: Final = 5000
_LOCK_KEY: Final = 0x6D61726B6574  # "market"

_CREATE_INCOMING = """
    CREATE TEMPORARY TABLE incoming_instrument (
        instrument_token bigint NOT NULL,
        exchange_token text NOT NULL,
        tradingsymbol text NOT NULL,
        name text NOT NULL,
        expiry date,
        strike numeric(14, 4) NOT NULL,
        tick_size numeric(14, 4) NOT NULL,
        lot_size integer NOT NULL,
        instrument_type text NOT NULL,
        segment text NOT NULL,
        exchange text NOT NULL
    ) ON COMMIT DROP
"""

# Rows that stay as they are get no new version: on an ordinary day that is nine in ten.
_UPDATE_CHANGED = """
    UPDATE market_instrument AS row
    SET instrument_token = new.instrument_token, exchange_token = new.exchange_token, name = new.name,
        expiry = new.expiry, strike = new.strike, tick_size = new.tick_size, lot_size = new.lot_size,
        instrument_type = new.instrument_type, segment = new.segment, is_active = true, last_seen = %(today)s
    FROM incoming_instrument AS new
    WHERE row.exchange = new.exchange AND row.tradingsymbol = new.tradingsymbol
      AND (row.instrument_token, row.exchange_token, row.name, row.expiry, row.strike, row.tick_size, row.lot_size,
           row.instrument_type, row.segment, row.is_active)
          IS DISTINCT FROM
          (new.instrument_token, new.exchange_token, new.name, new.expiry, new.strike, new.tick_size, new.lot_size,
           new.instrument_type, new.segment, true)
"""

_INSERT_NEW = """
    INSERT INTO market_instrument (instrument_token, exchange_token, tradingsymbol, name, expiry, strike, tick_size,
                                   lot_size, instrument_type, segment, exchange, is_active, first_seen, last_seen)
    SELECT new.*, true, %(today)s, %(today)s
    FROM incoming_instrument AS new
    WHERE NOT EXISTS (
        SELECT 1 FROM market_instrument AS row
        WHERE row.exchange = new.exchange AND row.tradingsymbol = new.tradingsymbol
    )
"""

_RETIRE_GONE = """
    UPDATE market_instrument AS row
    SET is_active = false
    WHERE row.is_active
      AND NOT EXISTS (
          SELECT 1 FROM incoming_instrument AS new
          WHERE row.exchange = new.exchange AND row.tradingsymbol = new.tradingsymbol
      )
      AND NOT (row.instrument_token = ANY(%(broken_tokens)s))
      AND NOT EXISTS (
          SELECT 1
          FROM unnest(%(broken_exchanges)s::text[], %(broken_tradingsymbols)s::text[]) AS lost (exchange, tradingsymbol)
          WHERE row.exchange = lost.exchange AND row.tradingsymbol = lost.tradingsymbol
      )
"""

_MARK_SEEN = """
    UPDATE market_instrument SET last_seen = %(today)s WHERE is_active AND last_seen <> %(today)s
"""


@dataclass(frozen=True, slots=True)
class Changes:
    """What an import did, in rows."""

    added: int
    changed: int
    retired: int


def import_instruments(
    chunks: Iterable[bytes],
    *,
    account: str = "",
    source: str = "",
    accept_shrinking: bool = False,
    on_step: Step = logger.debug,
) -> InstrumentImport:
    """Make the instrument table say what the dump in `chunks` says, and return the row that reports it.

    Rows that cannot be read are left out and reported by line number; instruments that are no longer listed are marked
    inactive. A dump that cannot be believed changes nothing; the attempt is recorded all the same.

    Parameters
    ----------
    chunks
        The CSV as it arrives. Read to its end before anything is locked or written.
    account, source
        Which account fetched it and from where, for the report.
    accept_shrinking
        Believe a dump that lists less than half of what was listed before.
    on_step
        Told in a few words what is being done.

    Raises
    ------
    InstrumentsRefused
        If the dump is empty, cut off, not a dump, mostly broken, or less than half of what it was.
    ImportAlreadyRunning
        If another import holds the table.
    """
    started = time.monotonic()
    report = InstrumentImport.objects.create(account=account, source=source[:255], market_time=clock.now())
    try:
        on_step("receiving the dump")
        dump = read_dump(join(chunks))
        on_step(f"read {len(dump.lines):,} rows, {len(dump.problems):,} cannot be used")
        with transaction.atomic():
            changes = _take_over(dump, today=clock.today(), accept_shrinking=accept_shrinking, on_step=on_step)
            report.outcome = InstrumentImport.Outcome.COMPLETED
            report.rows, report.rejected = len(dump.lines), len(dump.problems)
            report.added, report.changed, report.retired = changes.added, changes.changed, changes.retired
            report.problems = [{"line": p.line, "reason": p.reason} for p in dump.problems[:PROBLEMS_KEPT]]
            report.duration_seconds = time.monotonic() - started
            report.save()
            transaction.on_commit(instrument_cache.forget)
    except BaseException as exc:
        refused = isinstance(exc, (InstrumentsRefused, ImportAlreadyRunning))
        report.outcome = InstrumentImport.Outcome.REFUSED if refused else InstrumentImport.Outcome.FAILED
        report.reason = str(exc) or type(exc).__name__
        report.duration_seconds = time.monotonic() - started
        report.save(update_fields=["outcome", "reason", "duration_seconds"])
        raise
    for problem in dump.problems[:10]:
        logger.warning("instrument dump, %s", problem)
    logger.info(
        "instruments imported: %s rows, %s added, %s changed, %s retired, %s rejected, %.1f s",
        *(report.rows, report.added, report.changed, report.retired, report.rejected, report.duration_seconds),
    )
    return report


def _take_over(dump: Dump, *, today: date, accept_shrinking: bool, on_step: Step) -> Changes:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [_STATEMENT_TIMEOUT])
        # Of a table that was empty when PostgreSQL last counted it thinks nothing of going through it once a row, and
        # goes through what it has inserted so far: minutes for the first import.
        cursor.execute("SELECT set_config('enable_nestloop', 'off', true)")
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_LOCK_KEY])
        if not cursor.fetchone()[0]:
            raise ImportAlreadyRunning("another import of the instruments is under way")
        if not accept_shrinking:
            _refuse_if_shrunk(cursor, dump)

        on_step("copying into PostgreSQL")
        cursor.execute("DROP TABLE IF EXISTS pg_temp.incoming_instrument")
        cursor.execute(_CREATE_INCOMING)
        with cursor.copy(f"COPY incoming_instrument ({', '.join(COLUMNS)}) FROM STDIN") as copy:
            for start in range(0, len(dump.lines), _COPY_CHUNK_LINES):
                copy.write("".join(dump.lines[start : start + _COPY_CHUNK_LINES]))
        cursor.execute("ANALYZE incoming_instrument")

        on_step("comparing with what is known")
        cursor.execute(_UPDATE_CHANGED, {"today": today})
        changed = cursor.rowcount
        cursor.execute(_INSERT_NEW, {"today": today})
        added = cursor.rowcount
        cursor.execute(
            _RETIRE_GONE,
            {
                "broken_tokens": sorted(dump.broken_tokens),
                "broken_exchanges": [exchange for exchange, _ in dump.broken_symbols],
                "broken_tradingsymbols": [symbol for _, symbol in dump.broken_symbols],
            },
        )
        retired = cursor.rowcount
        cursor.execute(_MARK_SEEN, {"today": today})
    return Changes(added=added, changed=changed, retired=retired)


def _refuse_if_shrunk(cursor: Any, dump: Dump) -> None:
    """Half an exchange does not vanish overnight, but a download may end early without a trace."""
    cursor.execute("SELECT exchange, count(*) FROM market_instrument WHERE is_active GROUP BY exchange")
    before: dict[str, int] = dict(cursor.fetchall())
    judged = [("in all", sum(before.values()), len(dump.lines))]
    judged += [(name, was, dump.per_exchange[name]) for name, was in before.items() if was >= JUDGED_FROM_ROWS]
    shrunk = [f"{name} {now:,} rows instead of {was:,}" for name, was, now in judged if now < was * LEAST_SHARE_KEPT]
    if shrunk:
        raise InstrumentsRefused(
            f"the dump lists less than half of what it did: {'; '.join(shrunk)}. If that is right, import it with "
            "`manage.py import_instruments --accept-shrinking`"
        )
