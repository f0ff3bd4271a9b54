"""Taking over a day's instrument dump, against upserting it row by row, as services usually do.

Both sides get the same bytes: 115,000 rows, of which one in a hundred has changed since the last time. The peer does a
hundredth of the rows (its time is scaled up), since it would take minutes; it is Django's `update_or_create` in one
transaction, which is the friendly case: without one it also commits each row.
"""

import csv
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import date
from io import StringIO
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from benchmarks.harness import Result, compare_or_miss
from benchmarks.postgres import database

ROWS = 115_000
DAY = date(2026, 11, 25)
CHANGED_EVERY = 100
SHARE = 0.01
# What people type: a contract, a beginning, a slip, an index, what half of all rows meet, and what none does.
SEARCHES = ("nifty 26000 ce", "rel", "relianec fut", "banknifty", "ce", "26000", "nifty dec", "infy eq", "zzzz")
SEARCHED_TIMES = 15
SESSIONS = Path(__file__).resolve().parents[1] / "market" / "data"


def run(rounds: int) -> Iterator[Result]:
    """Seconds for one refresh of the whole table, and milliseconds for the slowest of some searches in it."""
    dumps = list(_two_days())
    rows = dumps[0].count(b"\n") - 1
    with ExitStack() as stack:
        stack.enter_context(database())
        from market.instruments import import_instruments
        from market.models import Instrument

        import_instruments([dumps[0]])
        ours = cycle(dumps[::-1])
        theirs = cycle(list(islice(_rows(content), round(rows * SHARE))) for content in dumps)

        def refresh() -> None:
            import_instruments([next(ours)])

        def row_by_row() -> None:
            from django.db import transaction

            with transaction.atomic():
                for row in next(theirs):
                    key = {"exchange": row.pop("exchange"), "tradingsymbol": row.pop("tradingsymbol")}
                    Instrument.objects.update_or_create(**key, defaults=row)
                    row |= key

        timing = compare_or_miss(refresh, lambda: row_by_row, rounds=rounds, share=SHARE)
        if Instrument.objects.active().count() != rows:
            raise AssertionError("the refresh did not take over the whole dump")
        slowest = max(_search_seconds(text) for text in SEARCHES)
    yield Result("instruments", f"refresh-{rows}", timing.ours, "s", "update_or_create", timing.peer, timing.ratio)
    yield Result("instruments", f"slowest-search-in-{rows}", slowest * 1000, "ms", "", None, None)


def _search_seconds(text: str) -> float:
    """The median of several."""
    from market.instrument_search import search
    from market.models import Instrument

    seconds = []
    for _ in range(SEARCHED_TIMES):
        begun = time.perf_counter()
        search(Instrument.objects.active(), text)
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _two_days() -> Iterator[bytes]:
    """The dump, and the same with another lot size in every hundredth row."""
    from simulator.clock import SessionCalendar
    from simulator.instruments import build_universe

    content = build_universe(DAY, SessionCalendar.from_folder(SESSIONS), ROWS).csv()
    yield content
    head, *lines = content.decode().splitlines()
    place = head.split(",").index("lot_size")
    for number in range(0, len(lines), CHANGED_EVERY):
        cells = lines[number].split(",")
        cells[place] = str(int(cells[place]) + 1)
        lines[number] = ",".join(cells)
    yield "\n".join((head, *lines, "")).encode()


def _rows(content: bytes) -> Iterator[dict[str, Any]]:
    for row in csv.DictReader(StringIO(content.decode())):
        del row["last_price"]
        yield row | {"expiry": row["expiry"] or None, "is_active": True, "first_seen": DAY, "last_seen": DAY}
