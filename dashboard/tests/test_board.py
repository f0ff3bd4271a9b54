"""Words and tones of the accounts page, decided from what was found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from accounts.breaker import BreakerState
from accounts.budget_limits import RouteClass
from accounts.budget_meters import Meter
from accounts.models import BrokerSession, TradingAccount
from dashboard import board, formats
from dashboard.board import Check, Row, Said
from dashboard.day import WIDTH, day_of
from market.calendar import Session
from streaming.health import Reason, Registry, ServiceHealth
from streaming.state import AccountState

NOW = datetime(2026, 11, 25, 5, 12, tzinfo=UTC)  # Wednesday 10:42 in India
WELL = ServiceHealth(
    database="ok",
    redis="ok",
    registry=Registry(status="ok", instruments=114_862, imported_at=NOW - timedelta(hours=2), added=412, retired=1207),
    feed="ok",
    reasons=(),
    streams=(),
    breakers={"AB1234:orders": BreakerState.CLOSED, "CD5678:data": BreakerState.OPEN},
)


def session(*, status: str = "active", ends_in: timedelta = timedelta(hours=20)) -> BrokerSession:
    return BrokerSession(status=status, logged_in_at=NOW, expires_at=NOW + ends_in)


def row(label: str = "Asha", *, login: str = "ok", mine: bool = True, **fields: object) -> Row:
    account = TradingAccount(label=label, kite_user_id="AB1234", owner=User(username="asha"), **fields)
    return Row(account, Said("ok" if login == "ok" else "bad", login), Said("ok", ""), Said("ok", ""), mine)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, Said("bad", "never logged in")),
        (BrokerSession(status="none"), Said("bad", "never logged in")),
        (session(status="ended"), Said("bad", "logged out")),
        (session(), Said("ok", "until 06:42 Thu")),
        (session(ends_in=timedelta(hours=-4)), Said("bad", "ended 06:42")),
        (session(ends_in=timedelta(days=-9)), Said("bad", "ended 10:42, 16 Nov")),
    ],
)
def test_a_login_is_told_with_the_time_that_matters(found: BrokerSession | None, said: Said) -> None:
    assert board.login_said(found, NOW) == said


@pytest.mark.parametrize(
    ("rows", "title", "helps"),
    [
        ([row()], "Ready: Asha is logged in", False),
        ([row(), row("Ravi")], "Ready: all 2 accounts are logged in", False),
        ([row(), row("HUF", login="ended 06:00")], "Not ready: HUF needs a login", True),
        ([row(login="x"), row("HUF", login="x")], "Not ready: 2 accounts need a login", True),
        ([row("HUF", login="x", mine=False)], "Not ready: HUF needs a login", False),
        ([row(state="disabled", login="x")], "Not ready: every account is disabled", False),
    ],
)
def test_one_sentence_says_whether_the_day_can_begin(rows: list[Row], title: str, helps: bool) -> None:
    said = board.verdict(rows, [Check("ok", "Redis answers")])

    assert said.title == title
    assert (said.row is not None) is helps
    assert (said.tone == "ok") is title.startswith("Ready")


def test_who_cannot_log_an_account_in_is_told_who_can() -> None:
    assert "Ask asha, who owns it" in board.verdict([row(login="x", mine=False)], []).detail


def test_a_fault_of_the_service_comes_after_the_logins() -> None:
    faulty = [Check("warn", "Redis does not answer", detail="No live prices")]

    assert board.verdict([row()], faulty).title == "Logged in, but: Redis does not answer"
    assert board.verdict([row(login="x")], faulty).title == "Not ready: Asha needs a login"


def test_what_needs_a_look_comes_first_among_the_checks() -> None:
    health = replace(WELL, redis="degraded", feed="degraded", reasons=(Reason("", "no stream process is running"),))
    checks = board.service_checks(health, mine=["AB1234"], now=NOW, source="simulated")

    assert [check.tone for check in checks] == ["warn", "warn", "ok", "ok", "ok"]
    assert checks[1].detail == "No stream process is running"


def test_checks_say_nothing_of_accounts_that_are_none_of_the_readers() -> None:
    reasons = (Reason("CD5678", "account CD5678 is awaiting_token"),)
    checks = board.service_checks(
        replace(WELL, feed="degraded", reasons=reasons), mine=["AB1234"], now=NOW, source="simulated"
    )

    assert "CD5678" not in str(checks)
    assert next(check for check in checks if "broker" in check.title).tone == "ok"


def test_the_age_of_the_instruments_is_told() -> None:
    told = board.service_checks(WELL, mine=[], now=NOW, source="live")
    old = replace(WELL, registry=WELL.registry | {"imported_at": NOW - timedelta(days=1)})

    assert Check("ok", "Instruments are of today", "2 h 0 m ago", "1,14,862 contracts, 412 new, 1,207 gone") in told
    assert any(
        check.title == "Instruments are of 24 Nov"
        for check in board.service_checks(old, mine=[], now=NOW, source="live")
    )


@pytest.mark.parametrize(
    ("used", "text", "percent", "tone"),
    [
        (0, "0 of 8", 0, "ok"),
        (5, "5 of 8", 62, "warn"),
        (6, "6 of 8", 75, "bad"),
        (9, "9 of 8", 100, "bad"),
        (None, "– of 8", 0, "off"),
    ],
)
def test_a_meter_is_full_where_entries_are_refused(used: int | None, text: str, percent: int, tone: str) -> None:
    """Two of the eight are kept for cancels and exits."""
    gauge = board.gauge_of(Meter("AB1234", RouteClass.ORDERS, "second", 1.0, 8, 2, used, 0.0))

    assert (gauge.text, gauge.percent, gauge.tone) == (text, percent, tone)


@pytest.mark.parametrize(
    ("feed", "said"),
    [
        (None, Said("off", "not in use")),
        (AccountState(status="open", subscriptions=1340, last_tick_at=None), Said("ok", "1,340 instruments")),
        (AccountState(status="awaiting_token", subscriptions=3, last_tick_at=None), Said("bad", "waits for the login")),
        (AccountState(status="some_new_state", subscriptions=3, last_tick_at=None), Said("warn", "some new state")),
    ],
)
def test_what_an_accounts_sockets_do_is_said_in_words(feed: AccountState | None, said: Said) -> None:
    assert board.prices_said(TradingAccount(is_data=True), feed) == said


def test_an_account_whose_breaker_is_open_is_not_called_active() -> None:
    account = TradingAccount(kite_user_id="CD5678", is_trading=True, state="enabled")
    breakers = board.breakers_of(account, WELL.breakers)

    assert breakers == [board.Breaker("data calls", Said("bad", "left alone: it failed too often"))]
    assert board.state_said(account, Said("ok", ""), breakers) == Said("warn", "Broker fails")


SESSION = Session(
    exchange="NFO",
    segment="derivatives",
    day=NOW.date(),
    kind="regular",
    opens_at=datetime(2026, 11, 25, 3, 45, tzinfo=UTC),
    closes_at=datetime(2026, 11, 25, 10, 10, tzinfo=UTC),
    verified=True,
)


@pytest.mark.parametrize(
    ("now", "title"),
    [
        (NOW, "Open, closes in 4 h 58 m"),
        (SESSION.opens_at - timedelta(minutes=23), "Opens in 23 m"),
        (SESSION.closes_at, "Closed for today"),
    ],
)
def test_the_day_tells_its_session_and_what_comes_next(now: datetime, title: str) -> None:
    day = day_of(now=now, today=SESSION, coming=SESSION, problem="", logins_end=NOW + timedelta(hours=20))

    assert (day.title, day.lines[0].title, day.lines[0].note) == ("Wed 25 Nov", title, "09:15 – 15:40")
    assert day.strip is not None
    assert 0 <= day.strip.opens_x <= day.strip.closes_x <= WIDTH
    assert day.lines[-1].note == "06:42 Thu"


def test_a_day_without_a_session_says_when_the_next_one_opens() -> None:
    sunday = NOW - timedelta(days=3)
    day = day_of(now=sunday, today=None, coming=SESSION, problem="", logins_end=NOW)

    assert day.strip is None
    assert [line.title for line in day.lines[:2]] == ["No session today", "Opens Wed 25 Nov"]


def test_what_the_calendar_does_not_know_is_said_and_not_called_closed() -> None:
    day = day_of(now=NOW, today=None, coming=None, problem="nothing is known about 2031", logins_end=NOW)

    assert [line.title for line in day.lines] == ["The calendar does not say", "Logins end"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 m"), (61, "2 m"), (3600, "1 h 0 m"), (17_880, "4 h 58 m"), (180_000, "2 d 2 h")]
)
def test_durations_are_short(seconds: float, text: str) -> None:
    assert formats.duration(seconds) == text
