"""Market time in its three modes. Sessions are made up here, so that no test depends on today's date."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
import time_machine
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST, ReferenceSessions, RegularHours, load_reference_sessions, make_clock

# Wednesday 25 November 2026 is a holiday here, Sunday the 29th has an hour in the evening.
SESSIONS = ReferenceSessions(
    (RegularHours(date(2026, 1, 1), date(2029, 12, 31), time(9, 15), time(15, 40)),),
    {date(2026, 11, 25): (), date(2026, 11, 29): ((time(18, 0), time(19, 0)),)},
)


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+05:30").timestamp()


def shown(moment: datetime) -> str:
    return moment.astimezone(IST).strftime("%Y-%m-%d %H:%M:%S")


def open_clock(anchor: str, speed: float = 1.0) -> Callable[[float], datetime]:
    return make_clock("open", speed=speed, anchor=at(anchor), sessions=lambda: SESSIONS)


def test_real_mode_is_the_real_time(settings: Settings) -> None:
    settings.MARKET_CLOCK = "real"
    moment = datetime(2026, 11, 24, 20, 0, tzinfo=UTC)
    with time_machine.travel(moment, tick=False):
        assert clock.now() == moment
        assert clock.today() == date(2026, 11, 25), "it is already tomorrow in India"


def test_a_moment_moves_on_from_the_anchor_at_the_given_speed() -> None:
    market = make_clock("2026-11-25T10:00:00+05:30", speed=60, anchor=1000.0, sessions=lambda: SESSIONS)
    assert shown(market(1000.0)) == "2026-11-25 10:00:00"
    assert shown(market(1010.0)) == "2026-11-25 10:10:00"


@pytest.mark.parametrize(
    ("anchor", "seconds", "expected"),
    [
        ("2026-11-24T10:00:00", 60, "2026-11-24 10:01:00"),  # open: it starts with the real time
        ("2026-11-24T09:00:00", 0, "2026-11-24 09:15:00"),  # before the opening
        ("2026-11-24T15:40:00", 0, "2026-11-26 09:15:00"),  # the closing moment is closed, the next day a holiday
        ("2026-11-24T15:39:00", 59, "2026-11-24 15:39:59"),
        ("2026-11-24T15:39:00", 60, "2026-11-26 09:15:00"),  # a jump over night and holiday
        ("2026-11-27T15:00:00", 40 * 60 + 90, "2026-11-29 18:01:30"),  # a special session on a Sunday
        ("2026-11-27T15:00:00", 100 * 60, "2026-11-30 09:15:00"),  # and out of it
        ("2026-11-24T10:00:00", -5, "2026-11-24 10:00:00"),  # a machine whose clock is a little behind
    ],
)
def test_open_mode_skips_closed_hours(anchor: str, seconds: float, expected: str) -> None:
    assert shown(open_clock(anchor)(at(anchor) + seconds)) == expected


def test_open_mode_counts_open_time_at_its_speed() -> None:
    market = open_clock("2026-11-24T15:30:00", speed=60)
    assert shown(market(at("2026-11-24T15:30:00") + 11)) == "2026-11-26 09:16:00"


@given(st.lists(st.floats(0, 400_000), min_size=2, max_size=6), st.sampled_from([0.5, 1.0, 7.0]))
def test_open_mode_is_always_open_and_never_goes_back(seconds: list[float], speed: float) -> None:
    anchor = at("2026-11-24T15:39:30")
    market = make_clock("open", speed=speed, anchor=anchor, sessions=lambda: SESSIONS)
    answers = [(passed, market(anchor + passed)) for passed in seconds]
    for _, moment in answers:
        unix = moment.timestamp()
        day = moment.astimezone(IST).date()
        assert any(session.opens - 1e-3 <= unix < session.closes for session in SESSIONS.on(day))
    ordered = [moment for _, moment in sorted(answers)]
    assert ordered == sorted(ordered)


def test_today_is_the_date_of_market_time(settings: Settings) -> None:
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = "2026-12-31T23:59:00+05:30", at("2020-01-01T00:00:00")
    with time_machine.travel(at("2020-01-01T00:02:00"), tick=False):
        assert clock.today() == date(2027, 1, 1)


def test_the_projects_own_session_files_can_be_read(settings: Settings) -> None:
    sessions = load_reference_sessions(Path(settings.MARKET_DATA_DIR))
    [regular] = sessions.on(date(2026, 11, 25))
    assert regular.closes - regular.opens == timedelta(hours=6, minutes=25).total_seconds()
    [before] = sessions.on(date(2026, 7, 31))
    assert before.closes - before.opens == timedelta(hours=6, minutes=15).total_seconds()
    assert sessions.on(date(2026, 11, 28)) == (), "a Saturday"


@pytest.mark.parametrize(
    ("mode", "speed", "complaint"),
    [("tomorrow", 1.0, "tomorrow"), ("2026-11-25T10:00:00", 1.0, "no offset"), ("open", 0.0, "MARKET_CLOCK_SPEED")],
)
def test_a_setting_that_says_no_time_is_refused_by_name(mode: str, speed: float, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=complaint):
        make_clock(mode, speed=speed, anchor=1.0, sessions=lambda: SESSIONS)


def test_hours_that_are_not_known_are_said_and_not_guessed() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"regular_hours\.csv does not cover"):
        make_clock("open", speed=1, anchor=at("2030-01-01T10:00:00"), sessions=lambda: SESSIONS)


def test_a_broken_row_is_named_by_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "regular_hours.csv").write_text(
        "exchange,segment,valid_from,valid_to,opens_at,closes_at,source\nNFO,derivatives,2026-01-01,,9.15,15:30,x\n"
    )
    with pytest.raises(ImproperlyConfigured, match=r"regular_hours.csv, line 2"):
        load_reference_sessions(tmp_path)
