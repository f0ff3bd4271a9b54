"""The past of one chain over HTTP: volatility at the money, straddle, forward and spot."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from market.chain_history import HISTORY, record
from market.models import ChainMinute, Instrument
from market.tests.dumps import NEAR

OPENS = datetime(2026, 11, 24, 9, 15, tzinfo=IST)
NOW = datetime(2026, 11, 27, 11, 0, tzinfo=IST)
MINUTES = 375
OF_THE_DAY = "from=2026-11-24&to=2026-11-24"


@pytest.fixture(autouse=True)
def at_eleven(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW.astimezone(UTC))
    settings.FEED_SOURCE = "live"


def minute(at: datetime, number: int = 0, **changes: Any) -> ChainMinute:
    values = dict.fromkeys(HISTORY) | {
        "spot": 24_500.0 + number,
        "forward": 24_530.0 + number,
        "atm_implied_volatility": 0.14,
        "straddle_price": 390.05,
    }
    key = {"underlying": "NIFTY", "expiry": NEAR, "minute": at, "source": "live"}
    return ChainMinute(**(key | values | changes))


@pytest.fixture
def session(reader: Client) -> Client:
    """A whole session was kept, and a minute of the next day."""
    record(minute(OPENS + timedelta(minutes=n), n) for n in range(MINUTES))
    record([minute(OPENS + timedelta(days=1), 1_000)])
    return reader


def ask(reader: Client, query: str, underlying: str = "nifty 50") -> Any:
    return reader.get(f"/api/v1/option-chains/{underlying}/{NEAR}/history?{query}")


def rows_of(answer: Any) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.content
    found = answer.json()
    return [dict(zip(found["columns"], row, strict=True)) for row in found["minutes"]]


def test_minutes_come_in_order_with_what_was_known(session: Client) -> None:
    answer = ask(session, OF_THE_DAY)
    rows = rows_of(answer)
    assert len(rows) == MINUTES
    assert rows[0] == dict.fromkeys(HISTORY) | {
        "time": "2026-11-24T09:15:00+0530",
        "spot": 24_500.0,
        "forward": 24_530.0,
        "atm_implied_volatility": 0.14,
        "straddle_price": 390.05,
    }
    assert [row["spot"] for row in rows] == [24_500.0 + n for n in range(MINUTES)]
    head = {name: value for name, value in answer.json().items() if name not in ("minutes", "columns")}
    assert head == {
        "underlying": "NIFTY",
        "expiry": "2026-12-01",
        "exchange": "NFO",
        "source": "live",
        "interval": "minute",
        "from": "2026-11-24T00:00:00+05:30",
        "to": "2026-11-24T23:59:59+05:30",
    }


@pytest.mark.parametrize("interval", [3, 5, 10, 15, 30, 60])
def test_of_each_interval_from_the_opening_on_the_last_minute_is_told(session: Client, interval: int) -> None:
    rows = rows_of(ask(session, f"{OF_THE_DAY}&interval={interval}minute"))
    last = [min(n + interval, MINUTES) - 1 for n in range(0, MINUTES, interval)]
    assert [row["spot"] - 24_500 for row in rows] == last
    assert rows[0]["time"] == f"{OPENS + timedelta(minutes=interval - 1):%Y-%m-%dT%H:%M:%S%z}"


def test_of_a_day_its_last_minute_is_told(session: Client) -> None:
    rows = rows_of(ask(session, "from=2026-11-20&interval=day"))
    assert [(row["time"][:10], row["spot"] - 24_500) for row in rows] == [("2026-11-24", 374), ("2026-11-25", 1_000)]


def test_both_ends_belong_to_the_range(session: Client) -> None:
    rows = rows_of(ask(session, "from=2026-11-24T09:16&to=2026-11-24T09:18"))
    assert [row["spot"] - 24_500 for row in rows] == [1, 2, 3]


def test_sources_are_never_mixed_and_this_services_own_is_meant(session: Client, settings: Settings) -> None:
    record([minute(OPENS, 7, source="simulated")])
    assert [row["spot"] - 24_500 for row in rows_of(ask(session, f"{OF_THE_DAY}&source=simulated"))] == [7]
    settings.FEED_SOURCE = "simulated"
    answer = ask(session, OF_THE_DAY)
    assert (answer.json()["source"], len(rows_of(answer))) == ("simulated", 1)


def test_an_expired_chain_still_has_its_past(session: Client) -> None:
    Instrument.objects.update(is_active=False)
    assert len(rows_of(ask(session, f"{OF_THE_DAY}&interval=day"))) == 1


def test_a_chain_of_which_nothing_was_kept_has_no_rows_and_one_that_never_was_is_not_found(reader: Client) -> None:
    assert rows_of(ask(reader, OF_THE_DAY)) == []
    answer = ask(reader, OF_THE_DAY, "NOSUCH")
    assert answer.status_code == 404
    assert "no options on NOSUCH that expire on 2026-12-01" in answer.json()["error"]["message"]
    assert reader.get(f"/api/v1/option-chains/NIFTY/2026-02-30/history?{OF_THE_DAY}").status_code == 404


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("", "from", "required"),
        ("from=soon", "from", ""),
        ("from=2026-11-24&to=2026-11-23", "from", "after"),
        ("from=2026-09-01", "from", "At most 60 days of minutes"),
        ("from=2025-09-01&interval=day", "from", "At most 400 days of days"),
        ("from=2026-11-24&interval=2minute", "interval", ""),
        ("from=2026-11-24&source=dreamt", "source", ""),
        ("from=2026-11-24&colour=red", "colour", "Unknown"),
    ],
)
def test_a_query_that_makes_no_sense_is_400_and_names_the_limit(
    reader: Client, query: str, field: str, says: str
) -> None:
    answer = ask(reader, query)
    assert answer.status_code == 400
    assert says in str(answer.json()["error"]["details"][field])
