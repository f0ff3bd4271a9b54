"""The feed's health as the server writes it: texts, rights, and what is not there."""

from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from accounts.models import TradingAccount
from dashboard import formats
from dashboard.feed import gap_when, meter_text, page_of, shown, strip_hours
from market.calendar_loading import load_calendar
from market.names import RedisNames
from streaming.health_frame import frame_of
from streaming.state import encode
from streaming.tests.health_world import CLOSES, OPENS, reading, socket, stream


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("instruments", 184_231, "1,84,231"),
        ("last_tick_age", 0.23, "0.2 s"),
        ("last_tick_age", 14.4, "14 s"),
        ("heard_age", 200.0, "3 m"),
        ("lag_ms", 2.94, "2.9 ms"),
        ("updates_per_second", 9.96, "10.0"),
        ("checked_percent", 99.98, "99.98 %"),
        ("ticks_per_second", 4343.6, "4,344"),
        ("ticks_per_second", None, formats.DASH),
        ("words", "data", "data"),
        ("needs_login", False, False),
    ],
)
def test_figures_are_texts_by_the_name_of_their_field(field: str, value: Any, text: Any) -> None:
    assert shown({field: value}) == {field: text}


def test_a_gap_says_when_it_began_and_how_long_it_was() -> None:
    began = OPENS.timestamp()
    assert gap_when({"started_at": began, "seconds": 17.0}) == "09:15:00, 17 s"
    assert gap_when({"started_at": began, "seconds": None}) == "09:15:00"


def test_a_budget_that_nobody_knows_is_a_dash() -> None:
    assert meter_text({"used": None, "limit": 4900}) == "– of 4,900"


def test_on_a_day_without_a_session_nothing_is_drawn() -> None:
    assert strip_hours({"opens_at": None, "closes_at": None}) == ()
    assert strip_hours({"opens_at": OPENS.timestamp(), "closes_at": CLOSES.timestamp()}) == ["09:15", "12:22", "15:30"]
    page = page_of(frame_of(reading([stream()], session=None), mine=[], stale_seconds=5.0))
    assert page["strips"][0]["slots"] == []


# --- the page --------------------------------------------------------------------------------------------------------


def read(client: Client, user: User) -> str:
    client.force_login(user)
    answer = client.get("/feed/")
    assert answer.status_code == 200
    return answer.content.decode()


@pytest.mark.usefixtures("account", "foreign")
def test_the_page_names_ones_own_accounts_and_no_others(client: Client, asha: User, valkey: "redis.Redis") -> None:
    load_calendar(django_settings.MARKET_DATA_DIR)
    held = stream([socket(), socket("CD5678 socket 1")])
    valkey.set(RedisNames(django_settings.REDIS_PREFIX).state("stream-1"), encode(held))
    html = read(client, asha)
    assert "AB1234, 1" in html
    assert "another account, 1" in html
    assert "CD5678" not in html
    assert "Ravi desk" not in html


@pytest.mark.usefixtures("valkey", "account")
def test_without_a_stream_it_says_so_and_what_to_do(client: Client, asha: User) -> None:
    html = read(client, asha)
    assert "No stream process is running" in html
    assert "manage.py run_stream" in html


@pytest.mark.usefixtures("account")
def test_without_redis_it_says_so_and_everything_else_is_told(client: Client, asha: User, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    html = read(client, asha)
    assert "Redis does not answer" in html
    assert "PostgreSQL answers" in html
    assert "– of 4,900" in html


@pytest.mark.usefixtures("valkey")
def test_an_administrator_without_any_account_is_told_to_add_one(client: Client, admin_user: User) -> None:
    html = read(client, admin_user)
    assert "Add an account in the admin" in html


@pytest.mark.usefixtures("valkey", "account")
def test_who_may_read_no_account_is_refused(client: Client, ravi: User) -> None:
    client.force_login(ravi)
    assert client.get("/feed/").status_code == 403
    assert TradingAccount.objects.count() == 1
