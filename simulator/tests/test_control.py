"""The control API's door, what it does to tokens, and its counters."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.control import ControlRefused, SimulatorControl
from simulator.faults.rules import MOST_RULES, Occasion, RuleBook, Target, group_of, read_rule
from simulator.logins import Logins
from simulator.options import DEMO_APP, DEMO_USER, InvalidOptions, SimulatorOptions
from simulator.rules import Rules
from simulator.tests.running import CONTROL_TOKEN, OPEN, RunningSimulator, SetClock, running, with_control


def test_without_a_token_there_is_no_control_api(simulator: RunningSimulator) -> None:
    for path in ("faults", "counters", "sockets/faults", ""):
        answer = requests.post(f"{simulator.http_root}/_control/{path}", json={"kind": "hang"}, timeout=5)
        assert answer.status_code == 403
        assert "SIMULATOR_CONTROL_TOKEN" in answer.json()["message"]


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer ", "Bearer wrong", CONTROL_TOKEN, "Bearer \xff"])
def test_the_wrong_token_opens_nothing(
    control: SimulatorControl, faulty_simulator: RunningSimulator, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    for method, path in (("POST", "faults"), ("GET", "counters"), ("POST", "tokens/kill"), ("DELETE", "faults")):
        answer = requests.request(method, f"{faulty_simulator.http_root}/_control/{path}", headers=headers, timeout=5)
        assert (answer.status_code, answer.json()["error_type"]) == (403, "PermissionException")


def test_the_token_is_not_shown(options: SimulatorOptions) -> None:
    assert CONTROL_TOKEN not in repr(with_control(options))


@pytest.mark.parametrize("token", ["grün", "a\nb"])
def test_a_token_that_fits_no_header_is_refused_at_the_start(options: SimulatorOptions, token: str) -> None:
    with pytest.raises(InvalidOptions, match="SIMULATOR_CONTROL_TOKEN"):
        replace(options, control_token=token)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"7", b'"text"', b"null"])
def test_a_body_that_is_no_object_is_refused(
    control: SimulatorControl, faulty_simulator: RunningSimulator, body: bytes
) -> None:
    headers = {"Authorization": f"Bearer {CONTROL_TOKEN}"}
    for path in ("faults", "sockets/faults", "tokens/kill"):
        answer = requests.post(f"{faulty_simulator.http_root}/_control/{path}", body, headers=headers, timeout=5)
        assert answer.status_code == 400


def test_a_rule_that_is_not_there_cannot_be_removed(control: SimulatorControl) -> None:
    with pytest.raises(ControlRefused, match="no rule 99"):
        control.remove(99999)


def test_there_is_an_end_to_the_number_of_rules(control: SimulatorControl) -> None:
    control.script(*[{"kind": "pass"}] * MOST_RULES)
    with pytest.raises(ControlRefused, match="remove some"):
        control.add("pass")
    with pytest.raises(ControlRefused, match=str(MOST_RULES)):
        control.script(*[{"kind": "pass"}] * (MOST_RULES + 1))


def test_a_rule_that_is_used_up_is_still_told_of() -> None:
    book = RuleBook()
    book.add([read_rule({"kind": "hang", "times": 1}, default_seed=1)])
    call = Occasion(Target.CALL, path="/user/profile")
    assert book.take(call) is not None
    assert book.take(call) is None
    assert [rule.hits for rule in book.rules.values()] == [1]


@pytest.mark.parametrize(
    ("path", "group"),
    [
        ("/quote/ltp", "data"), ("/instruments/NFO", "data"), ("/orders/regular", "orders"), ("/trades", "orders"),
        ("/session/token", "session"), ("/api/login", "login"), ("/mf/orders", "mf"), ("/", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_a_route_belongs_to_the_group_of_its_subject(path: str, group: str) -> None:
    assert group_of(path) == group


def test_a_call_that_hangs_does_not_hold_up_the_end(options: SimulatorOptions, open_clock: SetClock) -> None:
    with ThreadPoolExecutor() as threads:
        with running(with_control(options), open_clock) as simulator:
            kite, control = simulator.logged_in(), simulator.control()
            control.add("hang", path="/user/profile")
            control.add("delay", seconds=60, path="/user/margins")
            calls = [threads.submit(call) for call in (kite.profile, simulator.client().margins)]
            while sum(rule["hits"] for rule in control.rules()) < 2:
                time.sleep(0.01)
            control.close()
            began = time.monotonic()
        assert time.monotonic() - began < 1.9  # after two seconds handlers are cancelled
        assert all(call.exception(timeout=5) is not None for call in calls)


# --- counters ---------------------------------------------------------------------------------------------------------


def test_counters_equal_what_was_sent(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("error", status=502, path="/user/profile", times=2)
    control.add("reset", path="/user/profile", times=1)
    for _ in range(5):
        with contextlib.suppress(kite_exceptions.KiteException, requests.ConnectionError):
            victim.profile()
    victim.margins("equity")
    victim.ltp("NSE:INFY")
    counters = control.counters()
    mine = {"api_key": DEMO_APP.api_key, "user_id": DEMO_USER.user_id}
    assert counters.calls(**mine) == counters.calls() == 7
    assert counters.calls(group="user") == 6
    assert counters.calls(route="/user/margins/{segment}", method="GET") == 1
    assert counters.answers(route="/user/profile") == {"502": 2, "none": 1, "200": 2}
    assert all(sum(row.seconds.values()) == sum(row.minutes.values()) == row.total for row in counters.rows)
    control.reset_counters()
    assert control.counters().calls() == 0


def test_calls_are_counted_in_the_calendar_second_and_minute_in_which_they_arrive(
    options: SimulatorOptions, open_clock: SetClock
) -> None:
    start = int(datetime.now().timestamp()) // 60 * 60  # noqa: DTZ005 - codes run on real time
    now = SetClock(datetime.now().timestamp())  # noqa: DTZ005
    with running(with_control(options), open_clock, now) as simulator:
        kite, control = simulator.logged_in(), simulator.control()
        control.reset_counters()
        for seconds in (0.0, 0.9, 1.0, 1.1, 1.2, 60.0):
            now.moment = start + seconds
            kite.profile()
        counters = control.counters()
        control.close()
    (row,) = counters.rows
    assert row.seconds == {start: 2, start + 1: 3, start + 60: 1}
    assert row.minutes == {start: 5, start + 60: 1}
    worst = counters.worst_second(group="user"), counters.worst_minute(), counters.worst_second(group="data")
    assert worst == (3, 5, 0)


def test_calls_without_a_login_are_counted_for_nobody(
    control: SimulatorControl, faulty_simulator: RunningSimulator
) -> None:
    for header in ("token simkey1:wrong", "token made-up:wrong", "Bearer x", "token simkey1:\xff"):
        headers = {"Authorization": header.encode("latin-1")}
        requests.get(f"{faulty_simulator.http_root}/user/profile", headers=headers, timeout=5)
    requests.get(f"{faulty_simulator.http_root}/nowhere", timeout=5)
    counters = control.counters()
    assert counters.calls(user_id="") == counters.calls() == 5
    assert counters.calls(api_key="simkey1") == 2
    assert counters.answers() == {"403": 3, "400": 1, "404": 1}


def test_a_login_is_counted_for_its_app(control: SimulatorControl, faulty_simulator: RunningSimulator) -> None:
    faulty_simulator.logged_in()
    assert control.counters().calls(api_key="simkey1", method="POST", route="/session/token") == 1
    control.add("reset", group="session", api_key="simkey1", times=1)
    with pytest.raises(requests.ConnectionError):
        faulty_simulator.logged_in()


# --- tokens -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [{}, {"api_key": "simkey1"}, {"user_id": "AB1234"}, {"access_token": "mine"}])
def test_a_killed_token_is_dead_at_once_and_a_new_login_is_not(
    control: SimulatorControl, victim: KiteConnect, faulty_simulator: RunningSimulator, chosen: dict[str, str]
) -> None:
    if "access_token" in chosen:
        chosen = {"access_token": victim.access_token}
    assert control.kill_tokens(**chosen) == 1
    with pytest.raises(kite_exceptions.TokenException) as dead:
        victim.profile()
    assert dead.value.code == 403
    assert faulty_simulator.logged_in().profile()


@pytest.mark.parametrize("chosen", [{"api_key": "simkey2"}, {"user_id": "CD5678"}, {"access_token": "made-up"}])
def test_another_ones_token_lives(control: SimulatorControl, victim: KiteConnect, chosen: dict[str, str]) -> None:
    assert control.kill_tokens(**chosen) == 0
    assert victim.profile()


def test_a_token_from_before_a_restart_can_be_killed_once_it_was_used() -> None:
    clock = SetClock(OPEN)
    before, after = (Logins((DEMO_USER,), (DEMO_APP,), Rules(), clock, clock) for _ in range(2))
    token = before._log_in(DEMO_USER, DEMO_APP).token
    assert after.live() == []
    assert after.access(DEMO_APP.api_key, token) is not None
    assert [access.token for access in after.live()] == [token]
