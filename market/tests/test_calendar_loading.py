"""The session table and its files, the checks about it, and the cached answers."""

from datetime import date, datetime, time
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.core.checks import Tags, run_checks
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from pytest_django import DjangoAssertNumQueries, Settings

from accounts.clock import IST
from market import calendar
from market.calendar_loading import load_calendar
from market.exceptions import CalendarMissing, SessionsFileInvalid
from market.models import TradingSession

pytestmark = pytest.mark.django_db

FOLDER = Path(django_settings.MARKET_DATA_DIR)
REGULAR = "exchange,segment,valid_from,valid_to,opens_at,closes_at,source\n"
EXCEPTIONS = "exchange,segment,date,kind,opens_at,closes_at,source,verified\n"
NOON = datetime(2026, 11, 25, 12, tzinfo=IST)


def write(folder: Path, regular: str, exceptions: str) -> Path:
    (folder / "regular_hours.csv").write_text(REGULAR + regular)
    (folder / "session_exceptions.csv").write_text(EXCEPTIONS + exceptions)
    return folder


@pytest.fixture
def loaded() -> None:
    load_calendar(FOLDER)


def nfo(day: date) -> TradingSession:
    return TradingSession.objects.get(exchange="NFO", date=day)


def test_every_weekday_of_every_market_gets_a_row() -> None:
    done = load_calendar(FOLDER)

    assert done.years == [2025, 2026]
    for exchange, segment in calendar.SEGMENTS.items():
        weekdays = TradingSession.objects.filter(exchange=exchange, segment=segment, date__week_day__range=(2, 6))
        assert weekdays.count() == 261 + 261
    assert (nfo(date(2026, 8, 3)).kind, nfo(date(2026, 8, 3)).closes_at) == ("regular", time(15, 40))
    assert (nfo(date(2026, 11, 24)).kind, nfo(date(2026, 11, 24)).verified) == ("holiday", True)


def test_loading_again_changes_nothing(loaded: None) -> None:
    again = load_calendar(FOLDER)
    assert (again.created, again.updated, again.removed) == (0, 0, 0)


def test_loading_mends_what_went_wrong_and_leaves_what_a_person_entered(loaded: None) -> None:
    TradingSession.objects.filter(exchange="NFO", date="2026-11-24").update(verified=False)
    TradingSession.objects.filter(exchange="NFO", date="2026-11-25").delete()
    TradingSession.objects.create(exchange="NFO", segment="derivatives", date="2026-11-28", kind="holiday")
    TradingSession.objects.filter(exchange="NFO", date="2026-12-25").update(
        kind="special", opens_at="18:00", closes_at="19:00", set_by_hand=True
    )

    done = load_calendar(FOLDER)

    assert (done.created, done.updated, done.removed, done.kept_by_hand) == (1, 1, 1, 1)
    assert nfo(date(2026, 12, 25)).kind == "special"


def test_days_of_years_that_the_files_do_not_mention_stay(loaded: None) -> None:
    TradingSession.objects.create(exchange="NFO", segment="derivatives", date="2027-01-26", kind="holiday")
    load_calendar(FOLDER)
    assert nfo(date(2027, 1, 26)).kind == "holiday"


@pytest.mark.parametrize(
    ("regular", "exceptions", "message"),
    [
        ("NFO,derivatives,2026-01-01,,15:30,09:15,x\n", "", "regular_hours.csv, line 2: it closes before it opens"),
        ("NFO,derivatives,soon,,09:15,15:30,x\n", "", "regular_hours.csv, line 2: Invalid isoformat string: 'soon'"),
        ("NFO,futures,2026-01-01,,09:15,15:30,x\n", "", "line 2: 'futures' is not a valid"),
        (
            "",
            "NFO,derivatives,2026-01-26,holiday,09:15,15:30,x,yes\n",
            "exceptions.csv, line 2: a holiday has no hours",
        ),
        ("", "NFO,derivatives,2026-01-26,special,,,x,yes\n", "line 2: it needs hours"),
        ("", "NFO,derivatives,2026-01-26,closed,,,x,yes\n", "line 2: 'closed' is not a valid"),
        ("", "NFO,derivatives,2026-01-26,holiday,,,x,perhaps\n", "line 2: 'perhaps'"),
        ("", "NFO,derivatives\n", "line 2"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_loaded(tmp_path: Path, regular: str, exceptions: str, message: str) -> None:
    with pytest.raises(SessionsFileInvalid) as caught:
        load_calendar(write(tmp_path, regular, exceptions))
    assert message in str(caught.value)
    assert not TradingSession.objects.exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot read .*session_exceptions\.csv: No such file"):
        call_command("load_calendar", folder=tmp_path)


def test_weekdays_without_hours_in_force_stay_unknown(tmp_path: Path) -> None:
    load_calendar(
        write(
            tmp_path,
            "NFO,derivatives,2026-01-01,2026-06-30,09:15,15:30,x\n",
            "NFO,derivatives,2026-01-26,holiday,,,x,yes\n",
        )
    )
    assert calendar.session_of("NFO", "derivatives", date(2026, 6, 30)) is not None
    with pytest.raises(CalendarMissing):
        calendar.session_of("NFO", "derivatives", date(2026, 7, 1))


def test_the_command_says_what_it_did_and_what_nobody_verified() -> None:
    out = StringIO()
    call_command("load_calendar", stdout=out)
    assert "2025, 2026: " in out.getvalue()
    assert "Not checked against an exchange's own list: 25 Dec 2026." in out.getvalue()


def test_answers_are_kept_in_the_process(loaded: None, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(1):
        assert calendar.is_open("NFO", "derivatives", NOON)
        assert calendar.next_open("NFO", "derivatives", NOON) == NOON


def test_a_corrected_day_counts_at_once(loaded: None) -> None:
    assert calendar.is_open("NFO", "derivatives", NOON)
    session = nfo(date(2026, 11, 25))
    session.kind, session.opens_at, session.closes_at = "holiday", None, None
    session.save()
    assert not calendar.is_open("NFO", "derivatives", NOON)


@pytest.mark.django_db(transaction=True)
async def test_code_on_an_event_loop_can_take_the_calendar() -> None:
    await TradingSession.objects.acreate(exchange="NFO", segment="derivatives", date="2026-11-25", kind="holiday")
    known = await calendar.acurrent()
    assert not known.is_open("NFO", "derivatives", NOON)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "holiday", "opens_at": "09:15", "closes_at": "15:30"},
        {"kind": "regular"},
        {"kind": "special", "opens_at": "15:30", "closes_at": "09:15"},
    ],
)
def test_the_table_refuses_hours_that_make_no_sense(wrong: dict[str, str]) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        TradingSession.objects.create(exchange="NFO", segment="derivatives", date="2026-11-25", **wrong)


def calendar_messages() -> dict[str, str]:
    messages = run_checks(tags=[Tags.database], databases=["default"])
    return {message.id: message.msg for message in messages if message.id and message.id.startswith("market.")}


@pytest.mark.parametrize(
    ("today", "expected"),
    [
        ("2026-11-25", []),
        ("2026-12-14", []),
        ("2026-12-15", ["market.W001"]),
        ("2026-12-31", ["market.W001"]),
        ("2027-01-01", ["market.E001"]),
    ],
)
def test_a_year_that_is_missing_is_said_in_time(
    loaded: None, settings: Settings, today: str, expected: list[str]
) -> None:
    settings.MARKET_CLOCK = f"{today}T10:00:00+05:30"
    assert list(calendar_messages()) == expected


def test_one_market_without_its_year_is_named(loaded: None) -> None:
    TradingSession.objects.filter(exchange="MCX", date__year=2026).delete()
    assert calendar_messages() == {"market.E001": "The market calendar has no sessions of 2026 for MCX commodity."}


def test_no_database_is_asked_unless_one_is_named(django_assert_num_queries: DjangoAssertNumQueries) -> None:
    with django_assert_num_queries(0):
        assert "market.E001" not in [message.id for message in run_checks(tags=[Tags.database])]
