"""The calendar over HTTP."""

from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.test import Client

from accounts.models import TradingAccount
from market.calendar import SEGMENTS
from market.calendar_loading import load_calendar

pytestmark = pytest.mark.django_db


@pytest.fixture
def reader(client: Client, account: TradingAccount) -> Client:
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    client.force_login(account.owner)
    return client


def days(client: Client, query: str) -> list[dict[str, Any]]:
    answer = client.get(f"/api/v1/calendar?{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["days"])


def test_each_day_is_a_session_a_holiday_or_a_weekend(reader: Client) -> None:
    found = days(reader, "exchange=NFO&from=2026-11-20&to=2026-11-24")
    assert [(day["date"], day["kind"]) for day in found] == [
        ("2026-11-20", "regular"),
        ("2026-11-21", "weekend"),
        ("2026-11-22", "weekend"),
        ("2026-11-23", "regular"),
        ("2026-11-24", "holiday"),
    ]
    assert (found[0]["opens_at"], found[0]["closes_at"]) == ("2026-11-20T09:15:00+05:30", "2026-11-20T15:40:00+05:30")
    assert (found[4]["opens_at"], found[4]["verified"]) == (None, True)
    assert "Guru Nanak" in found[4]["source"]


def test_an_evening_and_a_session_on_a_sunday_have_their_hours(reader: Client) -> None:
    [evening] = days(reader, "exchange=MCX&from=2026-11-24&to=2026-11-24")
    assert (evening["kind"], evening["opens_at"]) == ("evening_only", "2026-11-24T17:00:00+05:30")
    [budget] = days(reader, "exchange=NSE&from=2026-02-01&to=2026-02-01")
    assert (budget["kind"], budget["opens_at"]) == ("special", "2026-02-01T09:15:00+05:30")


def test_all_markets_are_told_of_where_none_is_named(reader: Client) -> None:
    found = days(reader, "from=2026-11-25&to=2026-11-25")
    assert [day["exchange"] for day in found] == list(SEGMENTS)
    assert {day["segment"] for day in found} == {"equity", "derivatives", "currency", "commodity"}


def test_a_month_from_today_is_told_of_where_no_dates_are_named(reader: Client) -> None:
    found = days(reader, "exchange=NFO")
    assert (found[0]["date"], found[-1]["date"]) == ("2026-11-25", "2026-12-25")


def test_what_nobody_has_entered_is_unknown_and_never_closed(reader: Client) -> None:
    answer = reader.get("/api/v1/calendar?exchange=NFO&from=2026-12-31&to=2027-01-02").json()
    assert [day["kind"] for day in answer["days"]] == ["regular", "unknown", "unknown"]
    assert answer["unknown"] == 2
    assert answer["days"][2]["opens_at"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("exchange=NYSE", "exchange"),
        ("from=yesterday", "from"),
        ("from=2026-11-25&to=2026-11-24", "to"),
        ("from=2026-01-01&to=2027-02-05", "to"),
        ("from=0001-01-01&to=9999-12-31", "to"),
        ("month=11", "month"),
        ("exchange=%00", "exchange"),
    ],
)
def test_a_question_that_makes_no_sense_is_400_and_names_the_field(reader: Client, query: str, field: str) -> None:
    answer = reader.get(f"/api/v1/calendar?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


def test_the_last_days_of_time_are_unknown_too(reader: Client) -> None:
    assert {day["kind"] for day in days(reader, "exchange=NFO&from=9999-12-30")} == {"unknown"}
