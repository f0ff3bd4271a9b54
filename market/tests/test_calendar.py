"""When markets are open: pure questions to the calendar of the project's own files."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from accounts.clock import IST
from market.calendar import SEGMENTS, Calendar
from market.exceptions import CalendarMissing
from market.hours import RegularHours, SessionDay

NFO = ("NFO", "derivatives")
MCX = ("MCX", "commodity")

markets = st.sampled_from(sorted(SEGMENTS.items()))
# The last month is left out: what lies beyond it is another year's business.
moments = st.floats(0, 697).map(lambda days: datetime(2025, 1, 1, tzinfo=IST) + timedelta(days=days))


@dataclass
class Contract:
    exchange: str
    expiry: date | None


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=IST)


@pytest.mark.parametrize(
    ("market", "moment", "is_open"),
    [
        (NFO, "2026-07-31 09:14:59.999999", False),
        (NFO, "2026-07-31 09:15", True),
        (NFO, "2026-07-31 15:29:59.999999", True),
        (NFO, "2026-07-31 15:30", False),  # half open
        (NFO, "2026-08-03 15:39:59", True),  # the new hours
        (NFO, "2026-08-03 15:40", False),
        (("NSE", "equity"), "2026-08-03 15:30", False),
        (NFO, "2026-11-24 11:00", False),  # Guru Nanak Jayanti
        (MCX, "2026-11-24 16:59:59", False),
        (MCX, "2026-11-24 17:00", True),  # its evening
        (NFO, "2025-10-21 14:00", True),  # Muhurat, on a holiday
        (NFO, "2025-10-21 14:45", False),
        (NFO, "2026-02-01 12:00", True),  # the Budget, on a Sunday
        (NFO, "2026-02-08 12:00", False),  # any other Sunday
        (MCX, "2026-11-20 23:54", True),  # winter in New York
        (MCX, "2026-10-20 23:40", False),
        (("CDS", "currency"), "2026-11-25 16:30", True),
    ],
)
def test_markets_are_open_when_the_exchanges_say(
    project_calendar: Calendar, market: tuple[str, str], moment: str, is_open: bool
) -> None:
    assert project_calendar.is_open(*market, at(moment)) is is_open


@given(market=markets, moment=moments)
def test_a_session_holds_its_opening_and_not_its_close(
    project_calendar: Calendar, market: tuple[str, str], moment: datetime
) -> None:
    session = project_calendar.next_session(*market, moment)

    assert project_calendar.is_open(*market, session.opens_at)
    assert not project_calendar.is_open(*market, session.opens_at - timedelta(microseconds=1))
    assert project_calendar.is_open(*market, session.closes_at - timedelta(microseconds=1))
    assert not project_calendar.is_open(*market, session.closes_at)


@given(market=markets, moment=moments)
def test_the_next_opening_is_the_first_open_moment_from_now(
    project_calendar: Calendar, market: tuple[str, str], moment: datetime
) -> None:
    opens = project_calendar.next_open(*market, moment)

    assert opens >= moment
    assert project_calendar.is_open(*market, opens)
    assert (opens == moment) is project_calendar.is_open(*market, moment)
    assert opens.tzinfo is UTC


@given(market=markets, moment=moments, share=st.floats(0, 1, exclude_max=True))
def test_nothing_is_open_before_the_next_opening(
    project_calendar: Calendar, market: tuple[str, str], moment: datetime, share: float
) -> None:
    opens = project_calendar.next_open(*market, moment)
    between = moment + (opens - moment) * share
    assume(between < opens)

    assert not project_calendar.is_open(*market, between)


@given(market=markets, moment=moments, later=st.timedeltas(timedelta(0), timedelta(days=10)))
def test_the_next_opening_never_moves_back(
    project_calendar: Calendar, market: tuple[str, str], moment: datetime, later: timedelta
) -> None:
    first = project_calendar.next_open(*market, moment)
    assert first <= project_calendar.next_open(*market, min(moment + later, at("2026-11-30")))


@given(moment=moments, offset=st.integers(-12, 14))
def test_the_answer_does_not_depend_on_the_time_zone_of_the_question(
    project_calendar: Calendar, moment: datetime, offset: int
) -> None:
    elsewhere = moment.astimezone(timezone(timedelta(hours=offset)))
    assert project_calendar.is_open(*NFO, elsewhere) is project_calendar.is_open(*NFO, moment)


def test_a_moment_without_a_time_zone_is_refused(project_calendar: Calendar) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        project_calendar.is_open(*NFO, datetime(2026, 11, 25, 12))  # noqa: DTZ001


@pytest.mark.parametrize("day", [date(2028, 3, 1), date(2028, 3, 4)])
def test_a_year_without_rows_is_unknown_and_not_closed(project_calendar: Calendar, day: date) -> None:
    with pytest.raises(CalendarMissing, match="NFO derivatives on 2028-03-0"):
        project_calendar.session_of(*NFO, day)


def test_a_weekday_that_nobody_entered_is_unknown() -> None:
    known = SessionDay(*NFO, date(2026, 1, 26), "holiday", None, None, "", verified=True)
    calendar = Calendar([known])

    assert calendar.session_of(*NFO, date(2026, 1, 26)) is None
    assert calendar.session_of(*NFO, date(2026, 1, 25)) is None  # a Sunday
    with pytest.raises(CalendarMissing):
        calendar.session_of(*NFO, date(2026, 1, 27))


def test_an_unknown_market_is_not_closed_either(project_calendar: Calendar) -> None:
    with pytest.raises(CalendarMissing):
        project_calendar.is_open("NSEIX", "derivatives", at("2026-11-25 12:00"))


def test_the_search_for_the_next_opening_stops_at_the_end_of_the_calendar(project_calendar: Calendar) -> None:
    with pytest.raises(CalendarMissing, match="2027-01-01"):
        project_calendar.next_open(*NFO, at("2026-12-31 16:00"))


@pytest.mark.parametrize(
    ("exchange", "expiry", "closes"),
    [
        ("NFO", date(2026, 7, 28), "2026-07-28 15:30"),
        ("NFO", date(2026, 12, 1), "2026-12-01 15:40"),
        ("BFO", date(2026, 12, 3), "2026-12-03 15:40"),
        ("MCX", date(2026, 11, 24), "2026-11-24 23:55"),
        ("NFO", date(2026, 1, 15), "2026-01-14 15:30"),  # closed at three days' notice: it ended the day before
    ],
)
def test_a_contract_ends_when_its_market_closes_on_its_last_day(
    project_calendar: Calendar, exchange: str, expiry: date, closes: str
) -> None:
    assert project_calendar.close_of(Contract(exchange, expiry)) == at(closes)


def test_a_listed_expiry_beyond_the_calendar_closes_at_the_hours_in_force(project_calendar: Calendar) -> None:
    assert project_calendar.close_of(Contract("NFO", date(2029, 6, 26))) == at("2029-06-26 15:40")


@pytest.mark.parametrize("contract", [Contract("MCX", date(2029, 6, 26)), Contract("GLOBAL", date(2026, 12, 1))])
def test_a_last_close_that_nothing_tells_is_not_made_up(project_calendar: Calendar, contract: Contract) -> None:
    with pytest.raises(CalendarMissing):
        project_calendar.close_of(contract)


def test_an_instrument_without_expiry_has_no_last_close(project_calendar: Calendar) -> None:
    with pytest.raises(ValueError, match="without an expiry"):
        project_calendar.close_of(Contract("NSE", None))


def test_a_market_closed_for_weeks_on_end_is_an_error_and_not_an_endless_search() -> None:
    days = (date(2026, 1, 1) + timedelta(days=n) for n in range(365))
    calendar = Calendar(SessionDay(*NFO, day, "holiday", None, None, "", verified=True) for day in days)

    with pytest.raises(CalendarMissing):
        calendar.next_open(*NFO, at("2026-02-01 12:00"))


def test_hours_are_in_force_up_to_and_including_their_last_day() -> None:
    hours = RegularHours(*NFO, date(2026, 1, 1), date(2026, 8, 2), time(9, 15), time(15, 30), "")
    assert hours.in_force(date(2026, 8, 2))
    assert not hours.in_force(date(2026, 8, 3))


SHARES, INDEX_OPTIONS = ["NSE", "BSE"], ["NFO", "BFO"]
EDGES = [
    *((name, "2026-07-31 09:14:59.999999", False) for name in SHARES + INDEX_OPTIONS),
    *((name, "2026-07-31 09:15", True) for name in SHARES + INDEX_OPTIONS),
    *((name, "2026-07-31 15:29:59.9", True) for name in SHARES + INDEX_OPTIONS),
    *((name, "2026-07-31 15:30", False) for name in SHARES + INDEX_OPTIONS),
    *((name, "2026-11-25 15:30", False) for name in SHARES),
    *((name, "2026-11-25 15:30", True) for name in INDEX_OPTIONS),  # open until 15:40 since August
    *((name, "2026-11-25 15:40", False) for name in INDEX_OPTIONS),
    *((name, "2026-11-25 08:59:59", False) for name in ("CDS", "BCD", "MCX")),
    *((name, "2026-11-25 16:59:59", True) for name in ("CDS", "BCD")),
    *((name, "2026-11-25 17:00", False) for name in ("CDS", "BCD")),
    ("MCX", "2026-11-25 23:54:59", True),
    ("MCX", "2026-11-25 23:55", False),
    ("MCX", "2026-07-31 23:30", False),  # summer in New York
    *((name, "2026-12-25 12:00", False) for name in SEGMENTS),  # a holiday of all of them
    *((name, "2026-12-26 12:00", False) for name in SEGMENTS),  # a Saturday
    *((name, "2025-10-21 14:00", True) for name in SHARES + INDEX_OPTIONS),  # Muhurat, on a holiday
    *((name, "2025-10-21 11:00", False) for name in SHARES + INDEX_OPTIONS),
    *((name, "2026-02-01 12:00", True) for name in SHARES + INDEX_OPTIONS),  # the Budget, on a Sunday
    ("MCX", "2026-11-24 12:00", False),  # a holiday
    ("MCX", "2026-11-24 18:00", True),  # and its evening
]


@pytest.mark.parametrize(("exchange", "moment", "is_open"), EDGES)
def test_f73_each_market_opens_and_closes_to_the_moment(
    project_calendar: Calendar, exchange: str, moment: str, is_open: bool
) -> None:
    assert project_calendar.is_open(exchange, SEGMENTS[exchange], at(moment)) is is_open
