"""The calendar page, as the server makes it."""

from datetime import date, timedelta
from functools import partial

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from accounts.models import TradingAccount
from dashboard.month import month_named, month_of
from market import calendar
from market.calendar import CalendarDay
from market.calendar_loading import load_calendar

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client: Client, account: TradingAccount, asha: User) -> Client:
    load_calendar(django_settings.MARKET_DATA_DIR)
    client.force_login(asha)
    return client


def regular(day: date) -> CalendarDay:
    return CalendarDay("NFO", "derivatives", day, "weekend" if day.weekday() > 4 else "regular", verified=True)


def test_the_month_of_today_is_shown_with_its_holidays(reader: Client) -> None:
    html = reader.get("/calendar/").content.decode()
    assert "November 2026, NFO" in html
    assert "Tue 24 Nov, Guru Nanak Jayanti" in html
    assert "09:15 to 15:40" in html
    assert html.count('aria-current="date"') == 1


def test_another_market_has_hours_of_its_own(reader: Client) -> None:
    html = reader.get("/calendar/?exchange=MCX&month=2026-11").content.decode()
    assert "17:00 to 23:55" in html
    assert "Not checked against the exchange’s own list." in html


def test_a_month_that_nobody_has_entered_is_not_shown_as_closed(reader: Client) -> None:
    page = reader.get("/calendar/?month=2027-01")
    assert page.context["month"].unknown == 31
    html = page.content.decode()
    assert "Nobody has said what NFO does on 31 of these days." in html
    assert "Closed</small>" not in html


@pytest.mark.parametrize(
    "query", ["month=2026-13", "month=1999-12", "month=2101-01", "month=%00", "month=", "exchange=NYSE", "exchange=%00"]
)
def test_a_month_or_market_that_does_not_exist_is_not_found(reader: Client, query: str) -> None:
    assert reader.get(f"/calendar/?{query}").status_code == 404


@pytest.mark.parametrize("month", ["2000-01", "2026-02", "2026-11", "2100-12"])
def test_each_day_of_the_month_stands_under_its_day_of_the_week(month: str) -> None:
    first = month_named(month)
    assert first is not None
    shown = month_of(first, regular, today=first)
    cells = [cell for week in shown.weeks for cell in week if cell]
    assert [cell.day for cell in cells] == [first + timedelta(days=n) for n in range(len(cells))]
    assert (cells[-1].day + timedelta(days=1)).day == 1
    assert all(cell.day.weekday() == place for week in shown.weeks for place, cell in enumerate(week) if cell)
    assert (shown.before is None, shown.after is None) == (month == "2000-01", month == "2100-12")


def test_the_page_and_the_rest_interface_say_the_same(reader: Client) -> None:
    answer = reader.get("/api/v1/calendar?exchange=NSE&from=2026-11-01&to=2026-11-30").json()
    known = partial(calendar.current().day_of, "NSE", "equity")
    shown = month_of(date(2026, 11, 1), known, today=date(2026, 11, 25))
    cells = [cell for week in shown.weeks for cell in week if cell]
    assert [cell.kind for cell in cells] == [day["kind"] for day in answer["days"]]
