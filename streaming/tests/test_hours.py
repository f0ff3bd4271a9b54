"""Market hours: which ticks are of a session, and what a new session starts from. The clock is the tests' own."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import date, datetime, time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.clock import IST
from market.calendar import Calendar
from market.hours import SessionDay
from market.latest import parse
from streaming.bars import MINUTE
from streaming.contracts import CALL, CASH, FUTURE, Contract
from streaming.hours import MarketHours
from streaming.pipeline import Flushed, TickPipeline
from streaming.sessions import CalendarSessions
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, INDEX_TOKEN, option_token, slot
from streaming.ticks import MISSING

# Monday to Sunday; the Saturday has a special session, Wednesday is a holiday, and nothing is known of the next year.
MONDAY, TUESDAY, WEDNESDAY, THURSDAY = (date(2026, 11, day) for day in (23, 24, 25, 26))
FRIDAY, SATURDAY, SUNDAY = (date(2026, 11, day) for day in (27, 28, 29))
MARKETS = {"NSE": ("equity", time(15, 30)), "NFO": ("derivatives", time(15, 40)), "MCX": ("commodity", time(23, 30))}
CALL_TOKEN = option_token(25_000.0, CALL)


def days() -> Iterable[SessionDay]:
    for exchange, (segment, closes) in MARKETS.items():
        opens = time(9, 0) if exchange == "MCX" else time(9, 15)
        for day in (MONDAY, TUESDAY, THURSDAY, FRIDAY):
            yield SessionDay(exchange, segment, day, "regular", opens, closes, "", verified=True)
        yield SessionDay(exchange, segment, WEDNESDAY, "holiday", None, None, "", verified=True)
        yield SessionDay(exchange, segment, SATURDAY, "special", time(13, 45), time(14, 45), "", verified=True)


def at(day: date, clock: str) -> float:
    return datetime.combine(day, time.fromisoformat(clock), IST).timestamp()


def hours(*exchanges: str) -> MarketHours:
    made = MarketHours(CalendarSessions(Calendar(days())))
    made.follow(exchanges)
    return made


def passes(of: MarketHours, market_time: float, tick_time: float, place: int = 0) -> bool:
    closed = of.look(market_time).closed
    return closed is None or not closed.shuts_out(np.array([place]), np.array([tick_time]))[0]


@pytest.mark.parametrize(
    ("day", "now", "expected"),
    [
        (TUESDAY, "09:14:59.9", False),
        (TUESDAY, "09:15:00", True),
        (TUESDAY, "15:29:59.9", True),
        (TUESDAY, "15:30:00", False),
        (TUESDAY, "09:05:00", False),  # the pre-open
        (WEDNESDAY, "11:00:00", False),
        (SATURDAY, "11:00:00", False),
        (SATURDAY, "13:45:00", True),
        (SATURDAY, "14:45:00", False),
        (SUNDAY, "14:00:00", False),
        (date(2027, 1, 4), "03:00:00", True),  # a year that nobody has entered
    ],
)
def test_a_tick_of_now_passes_in_the_calendars_sessions_only(day: date, now: str, expected: bool) -> None:
    moment = at(day, now)
    assert passes(hours("NSE"), moment, moment) == expected


def test_each_exchange_has_its_own_hours() -> None:
    of = hours("NSE", "NFO", "MCX", "NSEIX")
    for clock, expected in (
        ("08:30", [False, False, False, True]),
        ("09:05", [False, False, True, True]),
        ("12:00", [True, True, True, True]),
        ("15:35", [False, True, True, True]),
        ("18:00", [False, False, True, True]),
        ("23:45", [False, False, False, True]),
    ):
        moment = at(TUESDAY, clock)
        assert [passes(of, moment, moment, place) for place in range(4)] == expected, clock


def test_while_everything_is_open_there_is_no_mask_at_all() -> None:
    assert hours("NSE", "NFO").look(at(TUESDAY, "12:00")).closed is None
    assert MarketHours().look(at(SUNDAY, "12:00")).closed is None


@pytest.mark.parametrize(
    ("now_day", "now", "tick_day", "tick", "expected"),
    [
        (TUESDAY, "18:00", TUESDAY, "15:29:59", True),
        (TUESDAY, "18:00", TUESDAY, "15:31:00", False),
        (TUESDAY, "18:00", TUESDAY, "09:07:00", False),
        (TUESDAY, "18:00", MONDAY, "15:00:00", False),
        (WEDNESDAY, "11:00", TUESDAY, "15:29:59", True),
        (THURSDAY, "09:00", TUESDAY, "15:29:59", True),
        (SUNDAY, "11:00", SATURDAY, "14:44:59", True),
        (SUNDAY, "11:00", FRIDAY, "15:29:59", False),
    ],
)
def test_while_closed_what_bears_a_time_of_the_last_session_passes(
    now_day: date, now: str, tick_day: date, tick: str, expected: bool
) -> None:
    assert passes(hours("NSE"), at(now_day, now), at(tick_day, tick)) == expected


@given(st.lists(st.integers(0, 8 * 24 * 3600), min_size=1, max_size=30), st.sampled_from(["NSE", "MCX"]))
def test_however_time_goes_the_answer_is_the_calendars(offsets: list[int], exchange: str) -> None:
    of, calendar = hours(exchange), Calendar(days())
    segment, _ = MARKETS[exchange]
    for offset in offsets:
        moment = at(MONDAY, "00:00") + offset
        day = datetime.fromtimestamp(moment, IST)
        if day.date() > SUNDAY:
            continue  # of the next Monday the calendar says nothing
        assert passes(of, moment, moment) == calendar.is_open(exchange, segment, day)


def test_a_session_begins_once_and_for_its_own_exchange() -> None:
    of = hours("NSE", "MCX", "NSE")
    begun = [
        of.look(at(day, clock)).opened.tolist()
        for day, clock in (
            (MONDAY, "08:00"), (MONDAY, "09:00"), (MONDAY, "09:15"), (MONDAY, "12:00"), (MONDAY, "15:30"),
            (MONDAY, "23:59"), (TUESDAY, "09:20"), (TUESDAY, "09:21"), (SATURDAY, "14:00"),
        )
    ]  # fmt: skip
    assert begun == [[], [1], [0, 2], [], [], [], [0, 1, 2], [], [0, 1, 2]]


def test_who_starts_in_the_middle_of_a_session_has_not_seen_it_begin() -> None:
    of = hours("NSE")
    assert of.look(at(MONDAY, "12:00")).opened.tolist() == []
    assert of.look(at(TUESDAY, "12:00")).opened.tolist() == [0], "another session, though the close was not seen"


def test_new_hours_and_new_instruments_count_at_once() -> None:
    of = hours("NSE")
    noon = at(MONDAY, "12:00")
    assert passes(of, noon, noon)
    holiday = SessionDay("NSE", "equity", MONDAY, "holiday", None, None, "", verified=True)
    of.go_by(CalendarSessions(Calendar([holiday])))
    assert not passes(of, noon, noon)
    of.follow(["MCX", "NSE"])
    assert [passes(of, noon, noon, place) for place in (0, 1)] == [True, False]


# --- through the pipeline ---------------------------------------------------------------------------------------------


class Clock:
    """Market time, set by hand; seconds of system time pass with it."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def __call__(self) -> float:
        return self.moment


def exchange_of(contract: Contract) -> str:
    return "NSE" if contract.instrument_type == CASH else "NFO"


@pytest.fixture
def clock() -> Clock:
    return Clock(at(FRIDAY, "12:00"))


@pytest.fixture
def pipeline(clock: Clock) -> TickPipeline:
    made = TickPipeline(source="simulated", epoch=1, market_time=clock, monotonic=clock)
    made.hours.go_by(CalendarSessions(Calendar(days())))
    made.follow(replace(contract, exchange=exchange_of(contract)) for contract in chain.contracts())
    return made


def flush(pipeline: TickPipeline, clock: Clock, moment: float, *packets: bytes) -> Flushed:
    clock.moment = moment
    return pipeline.flush([frames.frame(*packets)], moment)


def test_what_comes_outside_of_the_session_makes_no_price_and_no_bar_and_is_counted(
    pipeline: TickPipeline, clock: Clock
) -> None:
    flush(pipeline, clock, at(FRIDAY, "15:29:50"), *chain.packets(time=int(at(FRIDAY, "15:29:50"))))
    price = pipeline.table["last_price"].copy()
    for _ in pipeline.take_bars():
        pass
    late = int(at(FRIDAY, "16:00"))
    flushed = flush(
        pipeline,
        clock,
        late,
        frames.ltp(FUTURE_TOKEN, 2_600_000),
        frames.index(INDEX_TOKEN, 2_600_000, close=2_490_000, exchange_timestamp=late),
        frames.full(CALL_TOKEN, 1_000, volume=9_999, exchange_timestamp=late, last_trade_time=late),
    )
    assert flushed.rejected == {"market_closed": 3}
    assert flushed.batch == {}
    assert np.array_equal(pipeline.table["last_price"], price, equal_nan=True)
    clock.moment = late + 120
    pipeline.take_bars()  # what is left of 15:29
    clock.moment = late + 240
    assert pipeline.take_bars() == ({}, [])


def test_what_is_subscribed_in_the_evening_shows_the_sessions_last_price_and_makes_no_bar(
    pipeline: TickPipeline, clock: Clock
) -> None:
    last = int(at(FRIDAY, "15:29:59"))
    flushed = flush(pipeline, clock, at(FRIDAY, "20:00"), *chain.packets(time=last))
    assert flushed.rejected == {}
    assert pipeline.table["last_price"][slot(pipeline.table, INDEX_TOKEN)] == chain.SPOT
    clock.moment += 180
    assert pipeline.take_bars() == ({}, [])


def test_the_last_trades_of_a_session_count_although_they_come_after_its_end(
    pipeline: TickPipeline, clock: Clock
) -> None:
    last = int(at(FRIDAY, "15:39:59"))
    for volume, moment in ((100, last - 1), (150, last + 1.5)):
        packet = frames.full(
            FUTURE_TOKEN, 2_500_000, close=2_500_000, volume=volume, exchange_timestamp=last, last_trade_time=last
        )
        flush(pipeline, clock, moment, packet)
    clock.moment = last + 90
    _, minutes = pipeline.take_bars()
    assert [(bar.start, bar.seconds, bar.volume.tolist()) for bar, _ in minutes] == [
        (at(FRIDAY, "15:39:00"), MINUTE, [50])
    ]


def test_at_the_open_nothing_of_the_session_before_is_left_and_greeks_wait_for_prices_of_today(
    pipeline: TickPipeline, clock: Clock
) -> None:
    friday = int(at(FRIDAY, "15:29:50"))
    flush(pipeline, clock, friday, *chain.packets(time=friday))
    rows = pipeline.table
    option = slot(rows, CALL_TOKEN)
    oi = int(rows["oi"][option])

    opened = int(at(SATURDAY, "13:45:00"))
    jumped = frames.index(INDEX_TOKEN, round(chain.SPOT * 104), close=2_500_000, exchange_timestamp=opened)
    flushed = flush(pipeline, clock, opened, jumped)

    line = parse(b"".join(flushed.batch[f"nifty:{chain.EXPIRY}"].lines))
    assert flushed.batch[f"nifty:{chain.EXPIRY}"].is_whole
    assert set(line.columns["last_price"]) == {None}
    assert set(line.columns["implied_volatility"]) == {None}
    assert set(line.columns["delta"]) == {None}
    assert (rows["volume_traded"][option], rows["exchange_timestamp"][option]) == (MISSING, MISSING)
    assert rows["oi"][option] == oi, "what is open in the evening is open in the morning"
    assert rows["last_price"][slot(rows, INDEX_TOKEN)] == pytest.approx(chain.SPOT * 1.04)


def test_the_first_volume_of_a_session_is_no_trade_of_its_first_second(pipeline: TickPipeline, clock: Clock) -> None:
    def future(moment: float, volume: int) -> bytes:
        return frames.full(
            FUTURE_TOKEN, 2_500_000, close=2_500_000, volume=volume,
            exchange_timestamp=int(moment), last_trade_time=int(moment),
        )  # fmt: skip

    friday, opened = at(FRIDAY, "15:29:50"), at(SATURDAY, "13:45:00")
    flush(pipeline, clock, friday, future(friday, 1_000))
    flush(pipeline, clock, opened, future(opened, 900_000))  # the auction's, say
    flush(pipeline, clock, opened + 1, future(opened + 1, 900_075))
    clock.moment = opened + 90
    _, minutes = pipeline.take_bars()
    assert [bar.volume.tolist() for bar, _ in minutes if bar.start >= opened] == [[75]]


def test_a_future_of_the_pre_open_is_left_out_although_other_markets_are_open(
    pipeline: TickPipeline, clock: Clock
) -> None:
    metal = Contract(7, "GOLD26DECFUT", "GOLD", FUTURE, date(2026, 12, 5), exchange="MCX")
    pipeline.follow([metal, *(replace(one, exchange=exchange_of(one)) for one in chain.contracts())])
    moment = at(TUESDAY, "09:05")
    future = frames.full(FUTURE_TOKEN, 2_500_000, close=2_500_000, exchange_timestamp=int(moment))
    gold = frames.full(7, 7_000_000, close=7_000_000, exchange_timestamp=int(moment))
    flushed = flush(pipeline, clock, moment, future, gold, frames.ltp(99, 1))
    assert flushed.rejected == {"market_closed": 1, "unknown_token": 1}
    assert list(flushed.batch) == ["gold:underlying"]
