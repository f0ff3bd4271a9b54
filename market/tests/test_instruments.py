"""Taking over a dump, against PostgreSQL."""

import random
import time
from collections.abc import Iterator
from datetime import date
from decimal import Decimal

import psycopg
import pytest
from django.db import connection
from pytest_django import Settings

from market.exceptions import ImportAlreadyRunning, InstrumentsRefused
from market.instruments import _LOCK_KEY, import_instruments
from market.models import Instrument, InstrumentImport
from market.tests.dumps import NEAR, Row, dump, future, index, market, option, stock

pytestmark = pytest.mark.django_db


def load(*rows: Row | str) -> InstrumentImport:
    return import_instruments([dump(rows)])


def counts(report: InstrumentImport) -> tuple[int, int, int]:
    return report.added, report.changed, report.retired


def test_a_first_dump_is_taken_over_whole() -> None:
    report = load(index(), stock(), future(), option(strike=82.5))

    assert (report.outcome, report.rows, counts(report)) == ("completed", 4, (4, 0, 0))
    call = Instrument.objects.by_symbol("NFO:NIFTY26120182.5CE")
    assert (call.strike, call.expiry, call.lot_size, call.tick_size) == (Decimal("82.5"), NEAR, 75, Decimal("0.05"))
    assert call.is_active
    assert call.first_seen == call.last_seen == date(2026, 11, 25)


def test_the_same_dump_again_changes_nothing() -> None:
    load(index(), stock())
    assert counts(load(index(), stock())) == (0, 0, 0)


def test_changed_terms_are_taken_over_and_the_rest_is_left_alone() -> None:
    load(stock(), option())
    changed = option()
    changed.lot_size = 65

    assert counts(load(stock(), changed)) == (0, 1, 0)
    assert Instrument.objects.by_symbol("NFO:NIFTY26120124500CE").lot_size == 65


def test_what_is_gone_is_marked_inactive_and_comes_back_with_its_row() -> None:
    load(stock(), index(), option())
    first = Instrument.objects.get(tradingsymbol="NIFTY26120124500CE").pk
    assert counts(load(stock(), index())) == (0, 0, 1)
    assert not Instrument.objects.get(pk=first).is_active

    assert counts(load(stock(), index(), option())) == (0, 1, 0)
    assert Instrument.objects.by_symbol("NFO:NIFTY26120124500CE").pk == first


def test_the_last_dump_that_listed_it_is_remembered(settings: Settings) -> None:
    load(stock(), index(), option())
    settings.MARKET_CLOCK = "2026-12-02T09:00:00+05:30"
    load(stock(), index())

    assert Instrument.objects.get(tradingsymbol="INFY").last_seen == date(2026, 12, 2)
    assert Instrument.objects.get(tradingsymbol="NIFTY26120124500CE").last_seen == date(2026, 11, 25)


def test_a_recycled_token_leads_to_its_present_bearer() -> None:
    load(stock(), index(), option(token=7))
    load(stock(), index(), option(expiry=date(2026, 12, 8), token=7))

    assert Instrument.objects.by_token(7).tradingsymbol == "NIFTY26120824500CE"
    assert Instrument.objects.by_tokens([7, 408065, 999]).keys() == {7, 408065}


def test_a_broken_row_is_reported_and_what_it_named_stays_listed() -> None:
    load(index(), stock(), stock("TCS", 2953217), stock("SBIN", 779521))
    report = load(index(), stock(), Row("TCS", 2953217, strike="?"), "779521,3045,SBIN,STATE", option())

    assert (report.rows, report.rejected, counts(report)) == (3, 2, (1, 0, 0))
    assert report.problems == [
        {"line": 4, "reason": "strike is '?'"},
        {"line": 5, "reason": "it has 4 columns, not 12"},
    ]


@pytest.mark.parametrize("content", [b"", dump([]), dump([index(), stock()])[:-10], b"<html>maintenance</html>\n"])
def test_a_dump_that_cannot_be_believed_changes_nothing_and_is_recorded(content: bytes) -> None:
    load(index(), stock())
    with pytest.raises(InstrumentsRefused):
        import_instruments([content], account="AB1234")

    assert Instrument.objects.active().count() == 2
    report = InstrumentImport.objects.first()
    assert report is not None
    assert (report.outcome, report.account, report.reason != "") == ("refused", "AB1234", True)


def test_less_than_half_of_before_is_refused_unless_a_person_says_so() -> None:
    load(*market(20))
    rows = list(market(20))[:8]
    with pytest.raises(InstrumentsRefused, match="in all 8 rows instead of 23"):
        load(*rows)
    assert Instrument.objects.active().count() == 23

    report = import_instruments([dump(rows)], accept_shrinking=True)
    assert counts(report) == (0, 0, 15)


def test_a_large_exchange_that_vanishes_is_noticed_though_the_total_holds() -> None:
    on_bse = [Row(f"S{n}", 100 + n, exchange="BSE", segment="BSE") for n in range(1000)]
    load(*market(1500), *on_bse)
    with pytest.raises(InstrumentsRefused, match="BSE 0 rows instead of 1,000"):
        load(*market(1500))


def test_texts_that_mean_something_to_copy_arrive_as_they_are() -> None:
    names = ["\\N", "\\.", "back\\slash", "M&M", "ÄÖ ₹", "a\\tb"]
    load(*(stock(name, token) for token, name in enumerate(names, start=1)))
    assert set(Instrument.objects.values_list("tradingsymbol", flat=True)) == set(names)


def test_a_second_import_at_the_same_time_is_turned_away() -> None:
    connection.ensure_connection()
    dsn, password = connection.connection.info.dsn, connection.settings_dict["PASSWORD"]
    with psycopg.connect(dsn, password=password, autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        with pytest.raises(ImportAlreadyRunning):
            load(stock())


def test_a_download_that_breaks_off_changes_nothing() -> None:
    def breaking() -> Iterator[bytes]:
        yield dump([index(), stock()])
        raise ConnectionResetError("reset by the broker")

    with pytest.raises(ConnectionResetError):
        import_instruments(breaking())
    assert Instrument.objects.count() == 0
    assert InstrumentImport.objects.get().outcome == "failed"


def test_lookups_answer_by_symbol_token_and_chain() -> None:
    calls = [option(strike=strike, kind=kind, token=n) for n, (strike, kind) in
             enumerate([(25000, "PE"), (24500, "PE"), (25000, "CE"), (24500, "CE")], start=1)]  # fmt: skip
    load(index(), stock(), future(), *calls, option(expiry=date(2026, 12, 8), token=9), option("BANKNIFTY", token=10))
    objects = Instrument.objects

    assert " ".join(row.tradingsymbol[-7:] for row in objects.chain("NIFTY", NEAR)) == "24500CE 24500PE 25000CE 25000PE"
    assert objects.expiries("NIFTY") == [NEAR, date(2026, 12, 8)]
    assert objects.expiries("NIFTY", since=date(2026, 12, 2)) == [date(2026, 12, 8)]
    assert [row.instrument_type for row in objects.futures("NIFTY")] == ["FUT"]
    assert objects.by_symbols(["NSE:INFY", "BSE:INFY", "nonsense"]).keys() == {"NSE:INFY"}
    assert str(objects.underlying_of("NIFTY")) == "NSE:NIFTY 50"
    assert str(objects.underlying_of("INFY")) == "NSE:INFY"
    assert objects.underlying_of("BANKNIFTY") is None  # not in this dump
    with pytest.raises(Instrument.DoesNotExist):
        objects.by_symbol("INFY")
    with pytest.raises(Instrument.DoesNotExist):
        objects.by_token(12345)


def test_a_full_dump_is_imported_and_refreshed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The times are printed (`-s`), not asserted: the machine decides them."""
    rows = [str(row) for row in market(115_000)]
    contents = [dump(rows)]
    random.Random(1).shuffle(rows)
    contents.append(dump(rows[2000:] + [str(option("NEW", strike=n + 1, token=n + 1)) for n in range(2000)]))

    monkeypatch.setattr("market.instruments._STATEMENT_TIMEOUT", "30s")  # ten times what the longest one takes
    with connection.cursor() as cursor:
        # As PostgreSQL does by itself, maybe before the first import: plans for a table without rows took minutes.
        cursor.execute("ANALYZE market_instrument")
    reports, seconds = [], []
    for content in (*contents, contents[1]):
        started = time.perf_counter()
        reports.append(import_instruments([content]))
        seconds.append(time.perf_counter() - started)

    assert [counts(report) for report in reports] == [(115_003, 0, 0), (2000, 0, 2000), (0, 0, 0)]
    with capsys.disabled():
        print(  # noqa: T201
            "\n115,003 rows: first {:.1f} s, 2,000 new and gone {:.1f} s, the same again {:.1f} s".format(*seconds)
        )
