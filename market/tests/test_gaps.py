"""The ledger of outages: what is written down, what is refilled from the broker's candles, and what it shows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import generate_latest

from accounts import clock
from accounts.clock import IST
from accounts.exceptions import BudgetExhausted, NotSent, RequestRejected
from accounts.models import TradingAccount
from market import calendar, candles, gap_refill
from market.bar_store import store
from market.calendar import Calendar
from market.candle_coverage import Kind, add_days
from market.candle_models import MinuteBar
from market.candle_series import CandleInterval
from market.candles import Row, Wanted, prepare
from market.gap_metrics import GAPS_REGISTRY
from market.gap_models import FeedGap, GapLedger
from market.gap_refill import refill
from market.gaps import Cause, Outage, Status, keep, open_spans, take_over
from market.hours import SessionDay
from market.instruments import import_instruments
from market.models import Instrument
from market.tasks import keep_bar_months, refill_gaps
from market.tests.dumps import dump, future, index, option, stock
from market.tests.test_bar_store import bars

TODAY = date(2026, 11, 27)  # a Friday
INFY, NIFTY, FUTURE = 408065, 256265, 12_000_001


def at(hour: int, minute: int = 0, second: int = 0, *, day: date = TODAY) -> datetime:
    return datetime.combine(day, time(hour, minute, second), IST).astimezone(UTC)


NOW = at(11)
FROM, TO = at(10, 31, 20), at(10, 33, 5)
TOUCHED = [at(10, 31), at(10, 32), at(10, 33)]


class FakeBroker:
    """A candle for each minute that is asked for, from the opening on; and a list of what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, datetime, datetime]] = []
        self.failures: list[Exception] = []
        self.refuses: set[str] = set()

    def __call__(self, instrument: Instrument, start: datetime, end: datetime, kind: Kind) -> Sequence[Row]:
        self.asked.append((instrument.tradingsymbol, start, end))
        if instrument.tradingsymbol in self.refuses:
            raise RequestRejected("invalid token", error_type="InputException", status=400)
        if self.failures:
            raise self.failures.pop(0)
        open_ = 25_400.0 if instrument.tradingsymbol == "NIFTY 50" else 200.0
        price = {"open": open_, "high": open_ + 3, "low": open_ - 1, "close": open_ + 1.5, "volume": 10, "oi": 5}
        first = max(start, at(9, 15, day=start.date())).astimezone(IST)
        count = int((min(end, NOW) - first).total_seconds()) // 60 + 1
        return [{"date": first + timedelta(minutes=n), **price} for n in range(max(count, 0))]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(candles, "ask_broker", fake)
    return fake


@pytest.fixture
def listed(db: None, monkeypatch: pytest.MonkeyPatch, project_calendar: Calendar) -> None:
    """Eleven o'clock, the calendar, and a few instruments."""
    monkeypatch.setattr(clock, "now", lambda: NOW)
    monkeypatch.setattr(calendar, "read_calendar", lambda: project_calendar)
    options = [option(strike=strike, token=11_000_000 + n) for n, strike in enumerate((24_500, 25_000, 25_500), 1)]
    import_instruments([dump([index(), stock(), future(), *options])])


def outage(*tokens: int, **changes: Any) -> Outage:
    terms: dict[str, Any] = {"feed": "AB1234 socket 1", "cause": Cause.DISCONNECTED, "started_at": FROM, "ended_at": TO}
    return Outage(**terms | changes, tokens=frozenset(tokens or (INFY,)))


def the_gap() -> FeedGap:
    return FeedGap.objects.get()


def infy() -> Instrument:
    return Instrument.objects.get(tradingsymbol="INFY")


def is_due_again() -> None:
    FeedGap.objects.update(due_at=timezone.now() - timedelta(seconds=1))


# --- market hours -----------------------------------------------------------------------------------------------------

HOURS = {"NSE": (time(9, 15), time(15, 30)), "NFO": (time(9, 15), time(15, 40)), "MCX": (time(17), time(23, 55))}
SEGMENTS = {"NSE": "equity", "NFO": "derivatives", "MCX": "commodity"}
TRADED = {date(2026, 11, 25), date(2026, 11, 27)}
PLAIN = Calendar(
    SessionDay(exchange, SEGMENTS[exchange], day, "regular", *hours, "test", verified=True)
    for exchange, hours in HOURS.items()
    for day in TRADED
)


@given(
    st.sets(st.sampled_from(sorted(HOURS))),
    st.integers(-2 * 1440, 1440),
    st.integers(0, 3 * 1440),
)
def test_open_spans_are_the_minutes_in_which_one_of_the_markets_trades(
    exchanges: set[str], begins: int, lasts: int
) -> None:
    start = at(12) + timedelta(minutes=begins)
    end = start + timedelta(minutes=lasts)
    spans = open_spans(PLAIN, exchanges, start, end)

    def trades(moment: datetime) -> bool:
        local = moment.astimezone(IST)
        return local.date() in TRADED and any(HOURS[one][0] <= local.time() < HOURS[one][1] for one in exchanges)

    minutes = [start + timedelta(minutes=n) for n in range(lasts)]
    assert [m for m in minutes if trades(m)] == [m for m in minutes if any(a <= m < b for a, b in spans)]
    assert all(a < b for a, b in spans)
    assert all(before[1] < after[0] for before, after in pairwise(spans))


def test_a_day_that_nobody_has_entered_is_no_part_of_an_outage() -> None:
    assert open_spans(Calendar([]), ["NSE"], at(9), at(16)) == []


def test_no_outage_reaches_back_more_than_a_week(project_calendar: Calendar) -> None:
    first = open_spans(project_calendar, ["NSE"], at(9, day=date(2026, 9, 1)), at(16))[0][0]
    assert first.astimezone(IST).date() == date(2026, 11, 23)  # a Monday, as the 20th was over by four


# --- what is written down ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("listed")
def test_an_outage_is_opened_then_closed_and_writing_twice_is_as_good_as_once() -> None:
    for _ in range(2):
        keep([outage(ended_at=None)], at(10, 32))
    gap = the_gap()
    assert (gap.status, gap.ended_at, gap.instruments, gap.remaining) == ("open", None, [infy().pk], [infy().pk])
    assert take_over().until == at(10, 32)
    assert take_over().left_open == [replace(outage(ended_at=None), tokens=frozenset())]
    for _ in range(2):
        keep([outage(INFY, NIFTY, 999)], TO)  # one was added meanwhile; 999 is nobody's token
    gap = the_gap()
    assert (gap.status, gap.ended_at, len(gap.instruments)) == ("closed", TO, 2)
    assert take_over().left_open == []
    assert GapLedger.objects.get().kept_until == TO


@pytest.mark.usefixtures("listed")
def test_what_is_closed_by_another_process_keeps_its_instruments() -> None:
    keep([outage(ended_at=None)], FROM)
    [left] = take_over().left_open
    keep([Outage(left.feed, left.cause, left.started_at, left.tokens, TO)], TO)
    assert (the_gap().status, the_gap().instruments) == ("closed", [infy().pk])


@pytest.mark.usefixtures("listed")
def test_an_outage_that_was_repaired_is_not_opened_again(broker: FakeBroker) -> None:
    keep([outage()], TO)
    refill(most=10)
    for again in (outage(ended_at=None), outage()):
        keep([again], TO)
    assert the_gap().status == "repaired"


@pytest.mark.usefixtures("listed")
def test_time_that_begins_anew_closes_an_outage_at_its_beginning() -> None:
    keep([outage(ended_at=FROM - timedelta(hours=1))], TO)
    assert the_gap().ended_at == FROM


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "open"},
        {"ended_at": None},
        {"ended_at": FROM - timedelta(seconds=1)},
        {"status": "repaired"},
        {"status": "repaired", "repaired_at": NOW},
        {"closed_at": None},
    ],
)
def test_rows_that_contradict_themselves_are_refused(listed: None, wrong: dict[str, Any]) -> None:
    keep([outage()], TO)
    with pytest.raises(IntegrityError), transaction.atomic():
        FeedGap.objects.update(**wrong)


# --- refilling --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("listed")
def test_bars_of_an_outage_are_the_brokers_and_marked_and_the_row_says_how_many(broker: FakeBroker) -> None:
    minutes = [int((FROM - timedelta(minutes=2)).timestamp()) // 60 * 60 + 60 * n for n in range(6)]
    store(bars(infy(), [minute for minute in minutes if minute != int(at(10, 32).timestamp())]), MinuteBar.Origin.LIVE)
    keep([outage()], TO)
    refill_gaps.apply(throw=True)
    assert broker.asked == [("INFY", at(10, 31), at(10, 33))]
    found = MinuteBar.objects.values_list("minute", "open", "origin")
    assert [(minute, price) for minute, price, origin in found if origin == "repaired"] == [(m, 200) for m in TOUCHED]
    assert [origin for *_, origin in found] == ["live", "live", *["repaired"] * 3, "live"]
    gap = the_gap()
    assert (gap.status, gap.bars_refilled, gap.remaining, gap.reason) == ("repaired", 3, [], "")
    assert gap.repaired_at is not None
    refill_gaps.apply(throw=True)
    assert len(broker.asked) == 1


@pytest.mark.usefixtures("listed")
def test_a_broker_that_is_down_leaves_the_row_and_is_asked_again_after_a_pause(broker: FakeBroker) -> None:
    broker.failures = [NotSent("no route to the broker")]
    keep([outage(INFY, NIFTY)], TO)
    assert refill(most=10) == 0
    gap = the_gap()
    assert (gap.status, gap.reason, len(gap.remaining)) == ("closed", "no route to the broker", 2)
    assert gap.due_at is not None
    assert gap.due_at > timezone.now() + timedelta(minutes=4)
    assert refill(most=10) == 0
    assert len(broker.asked) == 1  # one instrument's failure is the next one's, and a pause is kept
    is_due_again()
    assert refill(most=10) == 2
    assert (the_gap().status, the_gap().reason, the_gap().bars_refilled) == ("repaired", "", 6)


@pytest.mark.usefixtures("listed")
def test_what_is_not_to_be_had_for_a_day_is_given_up_and_says_why(broker: FakeBroker) -> None:
    broker.failures = [NotSent("no route to the broker")]
    keep([outage()], TO)
    FeedGap.objects.update(closed_at=timezone.now() - timedelta(days=1, minutes=1))
    refill(most=10)
    assert (the_gap().status, the_gap().reason) == ("given_up", "no route to the broker")
    is_due_again()
    assert refill(most=10) == 0


@pytest.mark.usefixtures("listed")
def test_an_instrument_that_the_broker_refuses_keeps_no_other_from_being_refilled(broker: FakeBroker) -> None:
    broker.refuses = {"NIFTY 50"}
    keep([outage(INFY, NIFTY)], TO)
    assert refill(most=10) == 2
    gap = the_gap()
    assert (gap.status, gap.bars_refilled, len(gap.refused), gap.remaining) == ("given_up", 3, 1, [])
    assert gap.reason == "the broker refuses NSE:NIFTY 50: invalid token"


@pytest.mark.usefixtures("listed")
def test_an_app_that_may_not_ask_for_candles_is_no_refusal_of_one_instrument(broker: FakeBroker) -> None:
    broker.failures = [RequestRejected("no permission", error_type="PermissionException", status=403)]
    keep([outage(INFY, NIFTY)], TO)
    refill(most=10)
    assert (the_gap().status, the_gap().reason, the_gap().refused) == ("closed", "no permission", [])
    assert len(broker.asked) == 1


@pytest.mark.usefixtures("listed")
def test_a_run_is_bounded_and_the_next_goes_on_with_what_matters_most_first(broker: FakeBroker) -> None:
    options = list(Instrument.objects.filter(instrument_type="CE").values_list("instrument_token", flat=True))
    keep([outage(INFY, NIFTY, FUTURE, *options)], TO)
    while the_gap().status == "closed":
        before = len(broker.asked)
        assert refill(most=2) == 2
        assert len(broker.asked) == before + 2
    assert [name for name, *_ in broker.asked] == [
        "INFY", "NIFTY 50", "NIFTY26DECFUT", "NIFTY26120125500CE", "NIFTY26120125000CE", "NIFTY26120124500CE"
    ]  # fmt: skip
    assert the_gap().bars_refilled == 6 * 3


@pytest.mark.usefixtures("listed")
def test_a_spent_budget_is_no_failure_and_is_left_for_the_next_minute(
    broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gap_refill, "RUN_SECONDS", 0.5)
    broker.failures = [BudgetExhausted("used up", retry_after_seconds=60)]
    keep([outage(INFY, NIFTY)], TO)
    assert refill(most=10) == 0
    gap = the_gap()
    assert (gap.status, gap.reason) == ("closed", "")
    assert gap.due_at is not None
    assert gap.due_at <= timezone.now()
    assert refill(most=10) == 2


@pytest.mark.usefixtures("listed")
def test_a_worker_that_is_to_stop_leaves_the_rest_to_the_next_run(
    broker: FakeBroker, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep([outage(INFY, NIFTY, FUTURE)], TO)
    asked_before = candles.repair

    def asked_to_stop(*args: Any, **kwargs: Any) -> int:
        request.getfixturevalue("stopping_worker")
        return asked_before(*args, **kwargs)

    monkeypatch.setattr(gap_refill, "repair", asked_to_stop)
    assert refill(most=10) == 1
    assert refill(most=10) == 0
    gap = the_gap()
    assert (gap.status, len(gap.remaining), gap.bars_refilled) == ("closed", 2, 3)
    assert gap.due_at is not None
    assert gap.due_at <= timezone.now()


@pytest.mark.usefixtures("listed")
def test_an_outage_is_one_runs_until_that_run_is_dead(broker: FakeBroker) -> None:
    keep([outage()], TO)
    assert gap_refill._claim() is not None
    assert refill(most=10) == 0
    is_due_again()
    assert refill(most=10) == 1


@pytest.mark.usefixtures("listed")
def test_minutes_that_are_not_long_over_wait(broker: FakeBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    keep([outage(ended_at=NOW - timedelta(seconds=30))], NOW)
    assert refill(most=10) == 0
    monkeypatch.setattr(clock, "now", lambda: NOW + timedelta(minutes=2))
    assert refill(most=10) == 1


@pytest.mark.usefixtures("listed")
def test_only_the_hours_of_an_instruments_own_market_are_asked_for(broker: FakeBroker) -> None:
    yesterday = TODAY - timedelta(days=1)
    keep([outage(INFY, FUTURE, started_at=at(15, 29, 30, day=yesterday), ended_at=at(9, 15, 1))], NOW)
    refill(most=10)
    assert broker.asked == [
        ("INFY", at(15, 29, day=yesterday), at(15, 29, day=yesterday)),
        ("INFY", at(9, 15), at(9, 15)),
        ("NIFTY26DECFUT", at(15, 29, day=yesterday), at(15, 39, day=yesterday)),
        ("NIFTY26DECFUT", at(9, 15), at(9, 15)),
    ]


@pytest.mark.parametrize("is_today", [True, False])
def test_what_was_asked_of_the_broker_since_is_not_asked_again(
    listed: None, broker: FakeBroker, *, is_today: bool
) -> None:
    yesterday = TODAY - timedelta(days=1)
    shift = timedelta() if is_today else timedelta(days=1)
    add_days(infy().pk, Kind.MINUTE, (yesterday, yesterday), today_until=at(10, 34) if is_today else None)
    keep([outage(started_at=FROM - shift, ended_at=TO - shift)], NOW)
    refill(most=10)
    assert (broker.asked, the_gap().status, the_gap().bars_refilled) == ([], "repaired", 0)


@pytest.mark.usefixtures("listed")
def test_a_repaired_bar_stays_marked_when_the_broker_is_asked_for_its_day() -> None:
    minute = [int(at(10, 31).timestamp())]
    for origin, expected in (("live", "live"), ("repaired", "repaired"), ("history", "repaired"), ("live", "repaired")):
        store(bars(infy(), minute), MinuteBar.Origin(origin))
        assert MinuteBar.objects.get().origin == expected


# --- candles ----------------------------------------------------------------------------------------------------------


def today_so_far() -> Wanted:
    return Wanted(infy(), at(9, 15), NOW, CandleInterval.MINUTE)


def live_from(start: datetime, *, but_not: tuple[datetime, datetime] | None = None) -> None:
    minutes = [start + timedelta(minutes=n) for n in range(int((NOW - start).total_seconds()) // 60)]
    seen = [m for m in minutes if but_not is None or not but_not[0] <= m <= but_not[1]]
    store(bars(infy(), [int(m.timestamp()) for m in seen]), MinuteBar.Origin.LIVE)


@pytest.mark.usefixtures("listed")
def test_a_day_with_an_outage_is_not_called_whole_on_the_streams_word(broker: FakeBroker) -> None:
    live_from(at(9, 15), but_not=(TOUCHED[0], TOUCHED[-1]))
    assert prepare(today_so_far()).missing == []
    assert broker.asked == []  # nothing is known to be missing: minutes without a trade have no bar
    keep([outage()], TO)
    broker.failures = [NotSent("no route to the broker")]
    [(days, why)] = prepare(today_so_far()).missing
    assert days == (TODAY, TODAY)
    assert why == "no route to the broker; the stream missed 10:31:20 to 10:33:05"
    assert prepare(today_so_far()).missing == []
    assert len(broker.asked) == 2


@pytest.mark.usefixtures("listed")
def test_a_day_whose_outage_is_repaired_is_the_streams_again(broker: FakeBroker) -> None:
    live_from(at(9, 18), but_not=(TOUCHED[0], TOUCHED[-1]))
    keep([outage(), outage(started_at=at(9, 15), ended_at=at(9, 17, 30), cause=Cause.ABSENT)], TO)
    assert refill(most=10) == 2
    asked = len(broker.asked)
    assert prepare(today_so_far()).missing == []
    assert len(broker.asked) == asked


@pytest.mark.usefixtures("listed")
def test_the_outage_of_other_instruments_is_none_of_its_business(broker: FakeBroker) -> None:
    live_from(at(9, 15))
    keep([outage(NIFTY)], TO)
    prepare(today_so_far())
    assert broker.asked == []


# --- what it shows ----------------------------------------------------------------------------------------------------


@pytest.fixture
def shown(listed: None, client: Client, account: TradingAccount) -> Client:
    """Somebody who reads, and three outages: one of the day before, one that is closed, one that goes on."""
    client.force_login(account.owner)
    before = timedelta(days=1)
    keep(
        [
            outage(INFY, NIFTY, started_at=FROM - before, ended_at=TO - before),
            outage(),
            outage(feed="AB1234 socket 2", ended_at=None, cause=Cause.SILENT),
        ],
        NOW,
    )
    return client


def test_the_ledger_is_listed_newest_first_with_numbers_of_instruments(shown: Client) -> None:
    page = shown.get("/api/v1/gaps").json()
    assert (page["total"], page["has_more"]) == (3, False)
    assert page["items"][2] == {
        "feed": "AB1234 socket 1",
        "cause": "disconnected",
        "started_at": "2026-11-26T10:31:20+05:30",
        "ended_at": "2026-11-26T10:33:05+05:30",
        "status": "closed",
        "instruments": 2,
        "remaining": 2,
        "refused": 0,
        "bars_refilled": 0,
        "repaired_at": None,
        "reason": "",
    }


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("open=true", 1),
        ("open=false", 2),
        ("from=2026-11-27", 2),
        ("to=2026-11-26", 1),
        ("from=2026-11-26&to=2026-11-27", 3),
        ("from=2026-11-28", 1),  # the one that goes on
        ("to=2026-11-25", 0),
        ("limit=1&offset=1", 1),
    ],
)
def test_the_ledger_can_be_asked_for_days_and_for_what_goes_on(shown: Client, query: str, count: int) -> None:
    assert len(shown.get(f"/api/v1/gaps?{query}").json()["items"]) == count


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=2026-11-28&to=2026-11-27",
        "open=perhaps",
        "colour=red",
        "from=0001-01-01",
        "to=9999-12-31",
        "limit=0",
    ],
)
def test_a_question_that_makes_no_sense_is_400(shown: Client, query: str) -> None:
    assert shown.get(f"/api/v1/gaps?{query}").status_code == 400


def test_the_admin_shows_the_ledger_and_changes_nothing(shown: Client, admin_client: Client) -> None:
    gap = FeedGap.objects.first()
    assert gap is not None
    assert "AB1234 socket 2" in admin_client.get(reverse("admin:market_feedgap_changelist")).content.decode()
    page = reverse("admin:market_feedgap_change", args=[gap.pk])
    assert admin_client.get(page).status_code == 200
    assert admin_client.post(page, {"bars_refilled": 7}).status_code == 403


def test_the_figures_say_what_goes_on_what_waits_and_what_was_refilled(shown: Client, broker: FakeBroker) -> None:
    def figures() -> str:
        return generate_latest(GAPS_REGISTRY).decode()

    assert 'feed_gaps{status="open"} 1.0' in figures()
    assert 'feed_gaps{status="closed"} 2.0' in figures()
    assert "feed_gaps_of_today_total 2.0" in figures()
    assert "feed_gap_bars_refilled_total 0.0" in figures()
    refill(most=10)
    assert 'feed_gaps{status="closed"} 0.0' in figures()
    assert "feed_gap_bars_refilled_total 3.0" in figures()


def test_rows_go_with_the_bars_that_they_are_about(shown: Client, settings: Any) -> None:
    settings.MINUTE_BARS_DAYS = 1
    keep_bar_months()
    assert FeedGap.objects.count() == 2
    assert Status.OPEN in FeedGap.objects.values_list("status", flat=True)
