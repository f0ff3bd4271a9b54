"""What is told of the feed's health: the sentence on top, the rows, and to whom."""

import time
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from accounts.budget_limits import RouteClass
from accounts.budget_meters import Meter
from streaming.health_frame import WebFigures, frame_of
from streaming.health_rates import RateBook
from streaming.health_reading import AccountFacts, AppFacts, GapFacts, Reading, Tables
from streaming.health_words import ASIDE_WORDS
from streaming.packets import Fault
from streaming.tests.health_world import CLOSES, OPENS, TEN_FORTY_TWO, reading, socket, stream
from streaming.tests.ws_schemas import check
from streaming.validation import FLAGGED, Reason

NOW = 1_795_588_927.0


def told(found: Reading, mine: tuple[str, ...] = ("AB1234",), **more: Any) -> dict[str, Any]:
    frame = frame_of(found, mine=mine, stale_seconds=5.0, seq=1, **more)
    check("health", frame)
    return frame


def facts(name: str = "AB1234", **changes: Any) -> AccountFacts:
    meter = Meter(name, RouteClass.ORDERS, "day", 86_400.0, 5_000, 100, 47, 0.0)
    fields = {"label": "Asha", "monogram": "AS", "monogram_colour": "slate", "app_id": 1, "is_data": True}
    fields |= {"is_logged_in": True, "meters": (meter,)} | changes
    return AccountFacts(name, public_id=uuid4(), **fields)  # type: ignore[arg-type]


def gap(feed: str = "AB1234 socket 1", **changes: Any) -> GapFacts:
    began = TEN_FORTY_TWO - timedelta(minutes=30)
    fields: dict[str, Any] = {"cause": "silent", "status": "repaired", "started_at": began, "bars_refilled": 1240}
    fields |= {"ended_at": began + timedelta(seconds=17), "reason": "", "instruments": 1000, "remaining": 0}
    return GapFacts(feed, **fields | {"refused": 0} | changes)


def test_when_prices_come_it_says_through_what_and_how_old_the_oldest_is() -> None:
    frame = told(
        reading([stream([socket(age=0.2, at=NOW), socket("AB1234 socket 2", age=1.4, at=NOW)], at=NOW)], at=NOW)
    )
    assert frame["summary"]["tone"] == "ok"
    assert frame["summary"]["title"] == "Prices come in on every socket"
    assert "1.4 s" in frame["summary"]["detail"]
    assert frame["feed"]["state"] == "live"
    assert frame["feed"]["age"] == pytest.approx(1.4)
    assert frame["sockets"][0] | {"strip": ""} == {
        "key": "stream-1 AB1234, 1",
        "name": "AB1234, 1",
        "account": "AB1234",
        "monogram": "",
        "colour": "",
        "process": "stream-1",
        "state": "open",
        "desired": 300,
        "subscribed": 300,
        "waiting": 0,
        "unconfirmed": 0,
        "reconnects": 0,
        "last_tick_age": pytest.approx(0.2),
        "tone": "ok",
        "words": "data",
        "strip": "",
    }


def test_a_socket_that_is_open_and_mute_is_red() -> None:
    frame = told(reading([stream([socket(age=9.0, at=NOW)], at=NOW)], at=NOW))
    assert frame["summary"]["tone"] == "bad"
    assert frame["summary"]["title"] == "No price comes in"
    assert (frame["sockets"][0]["tone"], frame["sockets"][0]["words"]) == ("bad", "connected, but silent")
    assert frame["feed"]["state"] == "stale"


def test_of_two_sockets_the_mute_one_is_named() -> None:
    sockets = [socket(age=0.2, at=NOW), socket("AB1234 socket 2", age=9.0, at=NOW)]
    frame = told(reading([stream(sockets, at=NOW)], at=NOW))
    assert frame["summary"]["title"] == "AB1234, 2 brings no prices"


def test_silence_is_right_while_the_market_is_closed() -> None:
    night = CLOSES + timedelta(hours=5)
    frame = told(reading([stream([socket(age=18_000, at=NOW)], at=NOW)], at=NOW, market_time=night))
    assert frame["summary"]["tone"] == "ok"
    assert frame["summary"]["title"] == "The market is closed"
    assert frame["feed"]["state"] == "closed"


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ({}, "No stream process is running"),
        ({"redis": "degraded"}, "Redis does not answer"),
    ],
)
def test_what_explains_all_is_said_first(changes: dict[str, Any], title: str) -> None:
    frame = told(reading([], **changes))
    assert (frame["summary"]["tone"], frame["summary"]["title"]) == ("bad", title)


def test_a_process_that_says_nothing_any_more_is_red_before_its_state_ends() -> None:
    frame = told(reading([stream(at=NOW - 7)], at=NOW))
    assert frame["processes"][0]["words"] == "not heard of"
    assert frame["sockets"][0]["words"] == "its process is not heard of"
    assert frame["summary"]["tone"] == "bad"


def test_a_dead_token_asks_for_the_login() -> None:
    dead = socket(state="awaiting_token", age=None, subscribed=0)
    frame = told(reading([stream([dead], feed_state="stale")], tables=Tables((facts(is_logged_in=False),))))
    assert frame["summary"]["title"] == "Asha needs a login"
    assert frame["accounts"][0]["needs_login"] is True
    assert frame["sockets"][0]["words"] == "waits for the login"


def test_without_an_account_it_says_what_to_do() -> None:
    frame = told(reading([stream([], feed_state="stale")]), mine=())
    assert frame["summary"]["title"] == "No account feeds prices"


def test_parts_without_room_are_told_with_their_reason() -> None:
    frame = told(reading([stream(overflow={"nifty:2026-12-29": "no room left on account AB1234"})]))
    assert frame["summary"]["title"] == "1 part is not streamed"
    assert frame["overflow"][0]["reason"] == "no room left on account AB1234"


def test_accounts_of_others_are_told_of_without_their_names() -> None:
    sockets = [socket(), socket("CD5678 socket 1", age=9.0)]
    held = stream(sockets, overflow={"nifty:2026-12-29": "no room left on account CD5678"})
    tables = Tables(
        (facts(), facts("CD5678", label="Ravi desk", app_id=2)),
        (AppFacts(2, "Ravi’s app", ()),),
        (gap("CD5678 socket 1"),),
    )
    frame = told(reading([held], tables=tables))
    assert [row["name"] for row in frame["sockets"]] == ["AB1234, 1", "another account, 1"]
    assert frame["sockets"][1]["account"] is None
    assert frame["gaps"][0]["title"] == "Another account, 1 went quiet"
    for secret in ("CD5678", "Ravi"):
        assert secret not in str(frame)


def test_slots_say_who_holds_them_by_the_newest_word_and_hide_apps_of_others() -> None:
    def slot(app: str, number: int, owner: str, **changes: Any) -> dict[str, Any]:
        fields = {"app": app, "slot": number, "account": "AB1234", "owner": owner, "epoch": 3, "seconds_left": 12.5}
        return fields | {"is_lost": False} | changes

    older = stream(process="a", at=NOW - 1, slots=[slot("Family app", 0, "a")])
    foreign = slot("Ravi’s app", 0, "b", account="CD5678", is_lost=True)
    newer = stream(process="b", at=NOW, slots=[slot("Family app", 0, "b"), slot("Family app", 1, ""), foreign])
    apps = (AppFacts(1, "Family app", ()), AppFacts(2, "Ravi’s app", ()))
    tables = Tables((facts(), facts("CD5678", label="Ravi desk", app_id=2)), apps)
    frame = told(reading([newer, older], at=NOW, tables=tables))
    assert [(row["name"], row["account"], row["owner"], row["words"]) for row in frame["slots"]] == [
        ("Family app, 1", "AB1234", "b", "held"),
        ("Family app, 2", "AB1234", "", "free"),
        ("another app, 1", "another account", "b", "held, and no socket works"),
    ]
    assert "Ravi" not in str(frame)


def test_instruments_that_do_not_answer_are_counted_by_socket_and_named() -> None:
    mute = {"instrument_token": 408065, "tradingsymbol": "INFY", "socket": "AB1234 socket 1", "waiting_seconds": 31.0}
    frame = told(reading([stream(unconfirmed=[mute | {"tries": 2}])]))
    assert frame["sockets"][0]["unconfirmed"] == 1
    assert frame["unconfirmed"][0]["tradingsymbol"] == "INFY"
    assert "1 was asked for and has not answered." in frame["summary"]["detail"]


def test_what_a_person_has_to_look_at_is_said_on_top() -> None:
    alert = {"kind": "mute_feed", "account": "CD5678", "socket": "CD5678 socket 1", "since": NOW - 90}
    alert["text"] = "Dialled anew 3 times, and no data comes although the market is open."
    sockets = [socket(at=NOW), socket("CD5678 socket 1", at=NOW)]
    frame = told(reading([stream(sockets, at=NOW, alerts=[alert])], at=NOW))
    assert frame["summary"]["title"] == "Another account, 1 needs a look"
    assert frame["summary"]["tone"] == "bad"
    assert frame["alerts"][0]["alert_age"] == pytest.approx(90.0)


def test_a_gap_says_what_happened_and_what_became_of_it() -> None:
    gaps = (gap(status="open", ended_at=None, cause="disconnected"), gap(), gap(status="closed", remaining=12))
    frame = told(reading([stream()], tables=Tables(gaps=gaps)))
    assert [(row["title"], row["tone"]) for row in frame["gaps"]] == [
        ("AB1234, 1 was cut off", "bad"),
        ("AB1234, 1 went quiet", "ok"),
        ("AB1234, 1 went quiet", "warn"),
    ]
    assert frame["gaps"][1]["detail"] == "1,000 instruments. Minute bars refilled, 1,240 of them"
    assert frame["gaps_said"] == {"tone": "bad", "words": "1 going on", "total": 3}


def test_the_session_is_drawn_slot_by_slot_with_what_was_missed() -> None:
    refilled = gap(started_at=OPENS + timedelta(minutes=6), ended_at=OPENS + timedelta(minutes=7))
    missed = gap(status="given_up", started_at=OPENS - timedelta(minutes=1), ended_at=OPENS + timedelta(minutes=1))
    frame = told(reading([stream()], tables=Tables(gaps=(refilled, missed))))
    strip = frame["sockets"][0]["strip"]
    assert strip[:4] == "2100"
    assert len(strip) == 75
    assert strip.index("3") == 18  # 10:42 is in the eighteenth slot of five minutes


def test_what_was_set_aside_is_counted_by_reason() -> None:
    counters = {"ticks": 1000, "older": 3, "crossed": 9, "order_updates": 5, "batches_dropped": 0}
    frame = told(reading([stream(counters=counters)]))
    assert [(row["key"], row["kind"], row["count"]) for row in frame["aside"]] == [
        ("crossed", "flagged", 9),
        ("older", "dropped", 3),
    ]
    assert frame["figures"]["checked_percent"] == pytest.approx(99.7)


def test_every_reason_to_set_a_tick_aside_has_its_words() -> None:
    assert {*Reason, *Fault} - ASIDE_WORDS.keys() == set()
    assert {Reason(name) for name, (kind, _) in ASIDE_WORDS.items() if kind == "flagged"} == FLAGGED


def test_budgets_are_told_to_those_whose_they_are() -> None:
    tables = Tables((facts(),), (AppFacts(1, "Family app", ()),))
    assert [group["name"] for group in told(reading([], tables=tables))["meters"]] == [
        "Asha",
        "Data calls of Family app",
    ]
    assert told(reading([], tables=tables), mine=())["meters"] == []


def test_rates_are_what_came_between_two_looks() -> None:
    book = RateBook()
    first = stream(at=NOW, counters={"ticks": 1000, "windows": 10})
    assert book.take([first]) == {}
    later = stream(at=NOW + 2, counters={"ticks": 9000, "windows": 30})
    rates = book.take([later])
    assert (rates["stream-1"].ticks, rates["stream-1"].windows) == (4000, 10)
    assert book.take([later]) == rates, "nothing new was written"
    assert book.take([stream(at=NOW + 3, epoch=2, counters={"ticks": 5})]) == {}, "it began anew"
    frame = told(reading([later], at=NOW + 2), rates=rates, web=WebFigures(7, 1, 2048, 1))
    assert frame["figures"]["ticks_per_second"] == 4000
    assert frame["figures"]["slow_clients"] == 1


def test_of_very_many_sockets_those_that_need_a_look_are_told() -> None:
    sockets = [socket(f"AB{n:04d} socket 1", age=0.1 if n != 149 else 60.0) for n in range(150)]
    frame = told(reading([stream(sockets)]), mine=tuple(f"AB{n:04d}" for n in range(150)))
    assert (len(frame["sockets"]), frame["sockets_total"]) == (100, 150)
    assert frame["sockets"][0]["name"] == "AB0149, 1"


def test_a_lost_database_is_said_and_prices_are_told_of_still() -> None:
    frame = told(reading([stream()], database="critical"))
    assert frame["summary"]["title"] == "PostgreSQL does not answer"
    assert frame["sockets"][0]["tone"] == "ok"
    assert time.time() - frame["read_at"] < 60
