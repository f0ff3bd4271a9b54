"""An exchange's own list: read whole or not at all, and stronger than the project's files."""

import json
from datetime import date, time
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.management import CommandError, call_command

from accounts.clock import IST
from market import calendar
from market.calendar_lists import import_list
from market.calendar_loading import load_calendar
from market.checks import markets_without
from market.exceptions import CalendarMissing, HolidayListInvalid
from market.holiday_lists import Holiday, read_list
from market.models import TradingSession

# Made up: no exchange has published its list of 2027 when this is written.
LIST = """Sr. No.,Date,Day,Description
1,26-Jan-2027,Tuesday,Republic Day
2,2027-03-22,Monday,Holi
3,"March 26, 2027",Friday,Good Friday
4,14/04/2027,Wednesday,Dr Ambedkar Jayanti
5,"Friday, 10 Dec 2027",Friday,A long weekend
"""
MCX = """Holiday,Date,Morning Session,Evening Session
Republic Day,26-Jan-2027,Closed,Closed
Holi,22-Mar-2027,Closed,Open
Good Friday,26-Mar-2027,Closed,Closed
Ambedkar Jayanti,14-Apr-2027,Closed,Open
A long weekend,10-Dec-2027,Closed,Open
"""
FOLDER = Path(django_settings.MARKET_DATA_DIR)


def test_dates_are_read_in_every_form_that_exchanges_use() -> None:
    found = read_list(LIST.encode(), exchange="NFO")
    assert [(one.date.isoformat(), one.name) for one in found] == [
        ("2027-01-26", "Republic Day"),
        ("2027-03-22", "Holi"),
        ("2027-03-26", "Good Friday"),
        ("2027-04-14", "Dr Ambedkar Jayanti"),
        ("2027-12-10", "A long weekend"),
    ]


def test_the_commodity_exchange_says_which_evenings_are_traded() -> None:
    found = read_list(("\ufeff" + MCX).encode(), exchange="MCX")
    assert [one.date.month for one in found if one.evening_open] == [3, 4, 12]


def test_the_nse_s_json_has_a_list_for_each_segment() -> None:
    entries = [
        {"tradingDate": f"{day:02}-Jan-2027", "weekDay": "x", "description": f"No. {day}"} for day in range(4, 9)
    ]
    content = json.dumps({"FO": entries, "CM": entries[:5], "CD": []}).encode()
    assert read_list(content, exchange="NFO")[0] == Holiday(date(2027, 1, 4), "No. 4")
    with pytest.raises(HolidayListInvalid, match="no list of MCX"):
        read_list(content, exchange="MCX")
    with pytest.raises(HolidayListInvalid, match="names 0 holidays"):
        read_list(content, exchange="CDS")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (LIST.replace("26-Jan-2027", "26-Jan-2026"), "more than one year: 2026, 2027"),
        (LIST.replace("26-Jan-2027", "31-Feb-2027"), "line 2: '31-Feb-2027' is no date"),
        ("\n".join(LIST.splitlines()[:3]), "names 2 holidays"),
        (MCX.replace("Closed,Open", "Open,Open", 1), "line 3: the morning of 22-Mar-2027 is traded"),
        (MCX.replace("Closed,Open", "Closed,Perhaps", 1), "line 3: a session is Open or Closed, not 'Perhaps'"),
        ("a,b\n1,2\n", "line 2: there is no date; the columns are a, b"),
        ("", "names 0 holidays"),
        ("<html>maintenance</html>\n", "names 0 holidays"),
        ("{", "it is no JSON"),
        ('{"FO": 3}', "no list of NFO"),
        ('{"FO": [1]}', "no list of NFO"),
        ("\0\0", ""),
        ("x" * (1 << 21), "larger than"),
    ],
)
def test_what_is_not_a_whole_year_s_list_is_refused_and_says_why(content: str, said: str) -> None:
    with pytest.raises(HolidayListInvalid) as caught:
        read_list(content.encode(), exchange="NFO")
    assert said in str(caught.value)


def test_text_of_another_encoding_is_refused() -> None:
    with pytest.raises(HolidayListInvalid, match="UTF-8"):
        read_list(LIST.encode().replace(b"Holi", b"\xe9\xff"), exchange="NFO")


@pytest.mark.django_db
def test_a_year_that_nobody_knew_is_known_after_its_list() -> None:
    load_calendar(FOLDER)
    with pytest.raises(CalendarMissing):
        calendar.session_of("NFO", "derivatives", date(2027, 1, 4))
    done = import_list(LIST.encode(), exchanges=["NFO", "NSE"], name="nse-2027.csv")

    assert (done.year, done.holidays, done.written, done.unknown) == (2027, 10, 522, 0)
    assert calendar.session_of("NFO", "derivatives", date(2027, 1, 26)) is None
    monday = calendar.session_of("NFO", "derivatives", date(2027, 1, 4))
    assert monday is not None
    assert monday.closes_at.astimezone(IST).time() == time(15, 40)
    assert markets_without(calendar.read_calendar(), 2027) == [
        "BSE equity", "BFO derivatives", "CDS currency", "BCD currency", "MCX commodity",
    ]  # fmt: skip


@pytest.mark.django_db
def test_evenings_are_traded_from_the_market_s_evening_to_its_ordinary_close() -> None:
    import_list(MCX.encode(), exchanges=["MCX"], name="mcx-2027.csv")
    rows = {row.date: row for row in TradingSession.objects.filter(exchange="MCX", kind="evening_only")}
    assert {day: (row.opens_at, row.closes_at) for day, row in rows.items()} == {
        date(2027, 3, 22): (time(17), time(23, 30)),  # summer in New York
        date(2027, 4, 14): (time(17), time(23, 30)),
        date(2027, 12, 10): (time(17), time(23, 55)),
    }


@pytest.mark.django_db
def test_a_list_is_stronger_than_the_files_and_a_person_stronger_than_a_list() -> None:
    load_calendar(FOLDER)
    list_2026 = LIST.replace("2027", "2026")
    TradingSession.objects.filter(exchange="NFO", date="2026-11-25").update(
        kind="holiday", opens_at=None, closes_at=None, set_by_hand=True
    )
    done = import_list(list_2026.encode(), exchanges=["NFO"], name="nse-2026.csv")
    assert done.kept_by_hand == ["NFO 2026-11-25"]

    load_calendar(FOLDER)
    assert calendar.session_of("NFO", "derivatives", date(2026, 11, 24)) is not None  # not in that list
    assert calendar.session_of("NFO", "derivatives", date(2026, 12, 10)) is None  # in that list only
    assert calendar.session_of("NFO", "derivatives", date(2026, 11, 25)) is None  # by hand
    assert calendar.session_of("BFO", "derivatives", date(2026, 11, 24)) is None  # another market


@pytest.mark.django_db
def test_importing_again_changes_nothing_and_a_corrected_list_counts() -> None:
    import_list(LIST.encode(), exchanges=["NFO"], name="a.csv")
    before = list(TradingSession.objects.order_by("date").values_list("date", "kind"))
    import_list(LIST.encode(), exchanges=["NFO"], name="a.csv")
    assert list(TradingSession.objects.order_by("date").values_list("date", "kind")) == before
    import_list(LIST.replace("2027-03-22", "2027-03-23").encode(), exchanges=["NFO"], name="a.csv")
    assert calendar.session_of("NFO", "derivatives", date(2027, 3, 22)) is not None


@pytest.mark.django_db
def test_days_without_regular_hours_stay_unknown() -> None:
    done = import_list(LIST.replace("2027", "2029").encode(), exchanges=["MCX"], name="far.csv")
    assert done.unknown > 250
    with pytest.raises(CalendarMissing):
        calendar.session_of("MCX", "commodity", date(2029, 1, 4))
    assert calendar.session_of("MCX", "commodity", date(2029, 1, 26)) is None


@pytest.mark.django_db
def test_the_command_imports_a_file_and_says_what_it_did(tmp_path: Path) -> None:
    file = tmp_path / "nse-2027.csv"
    file.write_text(LIST)
    out = StringIO()
    call_command("import_holidays", str(file), "--exchange", "NFO", "--exchange", "NSE", stdout=out)
    assert "Imported 2027 for NFO, NSE: 10 holidays, 522 days written." in out.getvalue()


@pytest.mark.django_db
def test_the_command_says_why_nothing_was_imported(tmp_path: Path) -> None:
    file = tmp_path / "part.csv"
    file.write_text("Date,Holiday\n2027-01-26,Republic Day\n")
    with pytest.raises(CommandError, match=r"Nothing was imported: part\.csv: it names 1 holidays"):
        call_command("import_holidays", str(file), "--exchange", "NFO")
    with pytest.raises(CommandError, match=r"cannot read .*: No such file"):
        call_command("import_holidays", str(tmp_path / "none.csv"), "--exchange", "NFO")
    assert not TradingSession.objects.exists()
