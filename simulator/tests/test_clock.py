"""Market time."""

from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.clock import MarketClock, SessionCalendar
from simulator.options import InvalidOptions
from simulator.tests.running import SetClock

REGULAR = "exchange,segment,valid_from,valid_to,opens_at,closes_at,source\n"
EXCEPTIONS = "exchange,segment,date,kind,opens_at,closes_at,source,verified\n"


def at(text: str) -> float:
    return datetime.fromisoformat(f"{text}+05:30").timestamp()


def clock(calendar: SessionCalendar, mode: str, system: SetClock, speed: float = 1.0) -> MarketClock:
    return MarketClock(calendar, mode, speed, anchor=system.moment, system_clock=system)


@pytest.fixture(scope="module")
def small_calendar(tmp_path_factory: pytest.TempPathFactory) -> SessionCalendar:
    folder = tmp_path_factory.mktemp("sessions")
    rows = "NFO,derivatives,2025-01-01,2026-08-02,09:15,15:30,x\nNFO,derivatives,2026-08-03,,09:15,15:40,x\n"
    exceptions = (
        "NFO,derivatives,2026-11-24,holiday,,,x,yes\n"
        "NFO,derivatives,2026-11-10,holiday,,,x,yes\n"
        "NFO,derivatives,2026-11-10,special,18:00,19:00,x,yes\n"
        "NFO,derivatives,2026-11-08,special,,,hours unknown,no\n"
    )
    (folder / "regular_hours.csv").write_text(REGULAR + rows, encoding="utf-8")
    (folder / "session_exceptions.csv").write_text(EXCEPTIONS + exceptions, encoding="utf-8")
    return SessionCalendar.from_folder(folder)


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("2026-07-31", ("09:15", "15:30")),
        ("2026-08-03", ("09:15", "15:40")),
        ("2026-11-24", None),  # a holiday
        ("2026-11-22", None),  # a Sunday
        ("2026-11-10", ("18:00", "19:00")),  # the special session of a holiday
        ("2026-11-08", None),
        ("2021-11-25", ("09:15", "15:30")),  # before the file begins
    ],
)
def test_the_session_of_a_day(small_calendar: SessionCalendar, day: str, hours: tuple[str, str] | None) -> None:
    session = small_calendar.session_of("NFO", "derivatives", date.fromisoformat(day))
    expected = hours and tuple(datetime.fromisoformat(f"{day}T{at}+05:30").astimezone(UTC) for at in hours)
    assert session == expected


def test_real_time_is_the_machines(calendar: SessionCalendar) -> None:
    assert clock(calendar, "real", SetClock(123.0)).timestamp() == 123.0


def test_a_moment_runs_from_the_anchor_at_its_speed(calendar: SessionCalendar) -> None:
    system = SetClock(1_000.0)
    market = clock(calendar, "2026-11-25T10:00:00+05:30", system, speed=60)
    system.moment += 10
    assert market.timestamp() == at("2026-11-25T10:10:00")


def test_open_time_starts_at_the_next_opening_when_closed(small_calendar: SessionCalendar) -> None:
    system = SetClock(at("2026-11-23T20:00:00"))  # the evening before a holiday
    market = clock(small_calendar, "open", system)
    assert market.timestamp() == at("2026-11-25T09:15:00")
    system.moment += 90
    assert market.timestamp() == at("2026-11-25T09:16:30")


def test_open_time_jumps_from_the_close_to_the_next_opening(small_calendar: SessionCalendar) -> None:
    system = SetClock(at("2026-11-23T15:39:00"))
    market = clock(small_calendar, "open", system)
    assert market.timestamp() == system.moment
    system.moment += 59.5
    assert market.timestamp() == at("2026-11-23T15:39:59.5")
    system.moment += 0.5  # a session does not contain its closing moment
    assert market.timestamp() == at("2026-11-25T09:15:00")


@given(anchor=st.floats(at("2026-01-01T00:00:00"), at("2026-12-20T00:00:00")), days=st.lists(st.floats(0, 30)))
def test_open_time_never_runs_backwards_and_is_always_open(
    small_calendar: SessionCalendar, anchor: float, days: list[float]
) -> None:
    system = SetClock(anchor)
    market = clock(small_calendar, "open", system)
    before = -1.0
    for elapsed in sorted(days):
        system.moment = anchor + elapsed * 86_400
        moment = datetime.fromtimestamp(market.timestamp(), UTC)
        session = small_calendar.session_of("NFO", "derivatives", moment.date())
        assert session is not None
        assert session.opens <= moment <= session.closes  # floats may round up to the close itself
        assert moment.timestamp() >= before
        before = moment.timestamp()


@pytest.mark.parametrize("mode", ["closed", "", "2026-11-25T10:00:00"])
def test_a_clock_that_makes_no_sense_is_refused_with_a_reason(calendar: SessionCalendar, mode: str) -> None:
    with pytest.raises(InvalidOptions, match="MARKET_CLOCK"):
        MarketClock(calendar, mode)


def test_a_missing_session_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptions, match=r"regular_hours\.csv"):
        SessionCalendar.from_folder(tmp_path)


def test_a_broken_line_of_a_session_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "regular_hours.csv").write_text(REGULAR + "NFO,derivatives,soon,,09:15,15:30,x\n", encoding="utf-8")
    with pytest.raises(InvalidOptions, match=r"line 2.*soon"):
        SessionCalendar.from_folder(tmp_path)
