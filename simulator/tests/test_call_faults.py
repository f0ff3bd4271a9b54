"""What can go wrong with a REST call: on the wire, and as the official client tells it."""

import json
import logging
import time
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.control import SimulatorControl
from simulator.tests.running import CONTROL_TOKEN, RunningSimulator
from simulator.tests.schemas import violations
from simulator.tests.wire import CLOSED, RESET, STILL_OPEN, Exchange, exchange

PROFILE = "/user/profile"


def profile(kite: KiteConnect, *, patience: float = 5) -> Exchange:
    """The bare exchange of a profile; the server is asked to end the connection after its answer."""
    authorization = f"Authorization: token {kite.api_key}:{kite.access_token}"
    return exchange(kite.root, f"GET {PROFILE}", authorization, "Connection: close", patience=patience)


@pytest.mark.parametrize(
    ("status", "error_type"),
    [
        (400, "InputException"),
        (403, "TokenException"),
        (429, "NetworkException"),
        (500, "GeneralException"),
        (502, "NetworkException"),
        (503, "NetworkException"),
        (504, "NetworkException"),
        (418, "GeneralException"),
    ],
)
def test_an_error_comes_in_the_envelope_with_the_brokers_usual_words(
    control: SimulatorControl, victim: KiteConnect, status: int, error_type: str
) -> None:
    control.add("error", status=status, path=PROFILE, times=2)
    answer = profile(victim)
    assert (answer.status, answer.header("Content-Type")) == (status, "application/json")
    assert violations("error", json.loads(answer.body)) == []
    assert json.loads(answer.body)["error_type"] == error_type
    with pytest.raises(getattr(kite_exceptions, error_type)):
        victim.profile()
    assert victim.profile()


def test_an_error_says_what_it_is_told_to(control: SimulatorControl, victim: KiteConnect) -> None:
    message = "IP address is not allowed: ₹"
    control.add("error", status=403, error_type="PermissionException", message=message, retry_after="7", times=2)
    assert profile(victim).header("Retry-After") == "7"
    with pytest.raises(kite_exceptions.PermissionException, match=message):
        victim.profile()


@pytest.mark.parametrize("status", [403, 429, 502])
def test_html_is_what_a_proxy_would_say(control: SimulatorControl, victim: KiteConnect, status: int) -> None:
    control.add("html", status=status, path=PROFILE, times=2)
    answer = profile(victim)
    assert (answer.status, answer.header("Content-Type")) == (status, "text/html; charset=utf-8")
    assert answer.body.startswith(b"<html>")
    with pytest.raises(kite_exceptions.DataException):
        victim.profile()


def test_a_redirect_leads_nowhere_and_who_follows_is_seen(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("redirect", path=PROFILE, times=2)
    answer = profile(victim)
    assert (answer.status, answer.header("Location")) == (307, "/_redirected")
    assert control.counters().calls() == 1  # nobody followed
    with pytest.raises(kite_exceptions.GeneralException, match="Route not found"):
        victim.profile()
    assert control.counters().calls(route="") == 1


@pytest.mark.parametrize("after_work", [False, True])
def test_a_delay_is_the_true_answer_late(control: SimulatorControl, victim: KiteConnect, after_work: bool) -> None:
    control.add("delay", seconds=0.2, after_work=after_work, path=PROFILE, times=1)
    began = time.monotonic()
    assert victim.profile()["user_id"] == "AB1234"
    assert time.monotonic() - began >= 0.2


@pytest.mark.parametrize("after_work", [False, True])
def test_a_call_that_hangs_gets_no_byte_and_no_end(
    control: SimulatorControl, victim: KiteConnect, after_work: bool
) -> None:
    control.add("hang", after_work=after_work, path=PROFILE, times=2)
    answer = profile(victim, patience=0.3)
    assert (answer.pieces, answer.ending) == ([], STILL_OPEN)
    victim.timeout = 0.2
    with pytest.raises(requests.ReadTimeout):
        victim.profile()


@pytest.mark.parametrize("kind", ["hang", "reset", "error", "html"])
@pytest.mark.parametrize("after_work", [False, True])
def test_after_the_work_it_was_done_and_before_it_was_not(
    control: SimulatorControl, victim: KiteConnect, kind: str, after_work: bool
) -> None:
    control.add(kind, after_work=after_work, method="DELETE", path="/session/token", times=1)
    victim.timeout = 0.5 if kind == "hang" else 10
    with pytest.raises((requests.RequestException, kite_exceptions.KiteException)):
        victim.invalidate_access_token()
    victim.timeout = 10
    if after_work:
        with pytest.raises(kite_exceptions.TokenException):
            victim.profile()
    else:
        assert victim.profile()


def test_a_slow_broker_does_the_work_although_the_client_has_left(
    control: SimulatorControl, victim: KiteConnect, faulty_simulator: RunningSimulator
) -> None:
    request_token = faulty_simulator.request_token()
    control.add("delay", seconds=0.5, method="POST", path="/session/token", times=1)
    impatient = faulty_simulator.client()
    impatient.timeout = 0.2
    with pytest.raises(requests.ReadTimeout):
        impatient.generate_session(request_token, "simsecret1")
    deadline = time.monotonic() + 10
    with pytest.raises(kite_exceptions.TokenException):  # noqa: PT012 - the other login ends this one
        while time.monotonic() < deadline:
            victim.profile()
            time.sleep(0.02)


@pytest.mark.parametrize("after_work", [False, True])
def test_a_reset_is_one_on_the_wire(control: SimulatorControl, victim: KiteConnect, after_work: bool) -> None:
    control.add("reset", after_work=after_work, path=PROFILE, times=2)
    answer = profile(victim)
    assert (answer.pieces, answer.ending) == ([], RESET)
    with pytest.raises(requests.ConnectionError, match="reset"):
        victim.profile()


def test_a_drip_outlasts_a_client_that_times_each_read_only(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("drip", bytes=100, seconds=0.3, path=PROFILE, times=2)
    answer = profile(victim)
    assert len(answer.body) == int(answer.header("Content-Length"))
    assert len(answer.pieces) > 2
    assert answer.seconds >= 0.3 * (len(answer.body) // 100)
    victim.timeout = 0.9
    began = time.monotonic()
    assert victim.profile()["user_id"] == "AB1234"
    assert time.monotonic() - began > victim.timeout


@pytest.mark.parametrize("size", [10, 0, None])
def test_a_truncated_body_promises_more_than_comes(
    control: SimulatorControl, victim: KiteConnect, size: int | None
) -> None:
    control.add("truncate", path=PROFILE, times=2, bytes=size)
    answer = profile(victim)
    promised = int(answer.header("Content-Length"))
    assert len(answer.body) == (promised // 2 if size is None else size)
    assert answer.ending == CLOSED
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        victim.profile()


def test_a_wrong_content_type_hides_a_true_answer(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("content_type", content_type="text/plain", path=PROFILE, times=2)
    answer = profile(victim)
    assert answer.header("Content-Type") == "text/plain"
    assert json.loads(answer.body)["status"] == "success"
    with pytest.raises(kite_exceptions.DataException):
        victim.profile()


def test_an_oversized_answer_has_just_the_size_it_is_told_to(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("oversize", bytes=1_000_003, path=PROFILE, times=2)
    answer = profile(victim)
    assert len(answer.body) == int(answer.header("Content-Length")) == 1_000_003
    assert len(victim.profile()) > 999_000


def test_a_compressed_dump_can_break_off_too(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("truncate", path="/instruments", times=1)
    with pytest.raises(requests.RequestException):
        victim.instruments()
    assert len(victim.instruments()) > 30_000


def test_a_login_survives_a_slow_form(control: SimulatorControl, faulty_simulator: RunningSimulator) -> None:
    control.add("drip", bytes=20, seconds=0, group="login")  # cookies and redirects pass through it
    assert faulty_simulator.logged_in().profile()


def outcome(kite: KiteConnect) -> str:
    try:
        kite.profile()
    except kite_exceptions.KiteException as exc:
        return str(exc.code)
    except requests.ConnectionError:
        return "reset"
    return "200"


def test_a_script_goes_in_order_and_each_call_takes_one_step(control: SimulatorControl, victim: KiteConnect) -> None:
    control.script(
        {"kind": "error", "status": 502, "times": 2},
        {"kind": "pass", "times": 1},
        {"kind": "reset", "times": 1},
        {"kind": "error", "status": 429, "times": 1},
    )
    assert [outcome(victim) for _ in range(6)] == ["502", "502", "200", "reset", "429", "200"]
    assert [(rule["hits"], rule["remaining"]) for rule in control.rules()] == [(2, 0), (1, 0), (1, 0), (1, 0)]


def test_a_rule_holds_until_it_is_removed(control: SimulatorControl, victim: KiteConnect) -> None:
    number = control.add("error", status=503)
    assert [outcome(victim) for _ in range(3)] == ["503"] * 3
    assert control.hits(number) == 3
    control.remove(number)
    assert outcome(victim) == "200"
    assert control.rules() == []


@pytest.mark.parametrize(
    ("condition", "is_hit"),
    [
        ({"path": PROFILE}, True),
        ({"path": "/user/margins"}, False),
        ({"method": "POST"}, False),
        ({"group": "user"}, True),
        ({"group": "data"}, False),
        ({"api_key": "simkey1"}, True),
        ({"api_key": "simkey2"}, False),
        ({"user_id": "AB1234", "method": "GET", "path": PROFILE}, True),
        ({"user_id": "CD5678"}, False),
        ({"on": "handshake"}, False),
    ],
)
def test_a_rule_is_about_whom_it_names(
    control: SimulatorControl, victim: KiteConnect, condition: dict[str, str], is_hit: bool
) -> None:
    control.add("error", status=500, **condition)
    assert outcome(victim) == ("500" if is_hit else "200")


def test_a_template_stands_for_its_paths(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("error", status=500, path="/user/margins/{segment}", times=1)
    control.add("error", status=500, path="/user/margins/commodity", times=1)
    with pytest.raises(kite_exceptions.GeneralException):
        victim.margins("equity")
    assert victim.margins("equity")
    with pytest.raises(kite_exceptions.GeneralException):
        victim.margins("commodity")


def test_chance_repeats_itself_under_a_seed(control: SimulatorControl, victim: KiteConnect) -> None:
    runs = []
    for seed in (7, 7, 8):
        control.clear()
        control.add("error", status=500, probability=0.5, seed=seed)
        runs.append([outcome(victim) for _ in range(20)])
    assert runs[0] == runs[1] != runs[2]
    assert set(runs[0]) == {"200", "500"}


def test_whom_chance_spares_meets_the_next_rule(control: SimulatorControl, victim: KiteConnect) -> None:
    control.add("error", status=500, probability=0)
    control.add("error", status=502)
    assert outcome(victim) == "502"


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ({}, "`kind` must be one of pass, error"),
        ([], "a JSON object"),
        (None, "a JSON object"),
        ({"kind": "explode"}, "`kind`"),
        ({"kind": 7}, "`kind`"),
        ({"kind": "error", "statsu": 500}, "'statsu'"),
        ({"kind": "error", "status": 99}, "`status`"),
        ({"kind": "error", "status": True}, "`status`"),
        ({"kind": "error", "status": "500"}, "`status`"),
        ({"kind": "html", "content_type": "a\r\nb"}, "`content_type`"),
        ({"kind": "error", "retry_after": "ü"}, "`retry_after`"),
        ({"kind": "redirect", "after_work": True}, "'after_work'"),
        ({"kind": "delay", "seconds": -1}, "`seconds`"),
        ({"kind": "delay", "seconds": 1e9}, "`seconds`"),
        ({"kind": "hang", "after_work": 1}, "`after_work`"),
        ({"kind": "hang", "times": 0}, "`times`"),
        ({"kind": "hang", "probability": 1.5}, "`probability`"),
        ({"kind": "hang", "method": "get"}, "`method`"),
        ({"kind": "hang", "path": "/user/profil"}, "No route"),
        ({"kind": "hang", "group": "users"}, "`group`"),
        ({"kind": "hang", "on": "wire"}, "`on`"),
        ({"kind": "drip", "on": "handshake"}, "`kind`"),
        ({"kind": "hang", "on": "handshake", "after_work": True}, "'after_work'"),
        ({"kind": "hang", "on": "handshake", "path": "/"}, "'path'"),
        ({"kind": "mute", "on": "call"}, "`kind`"),
        ({"kind": "close", "on": "socket", "code": 5}, "`code`"),
        ({"kind": "frame", "on": "socket", "hex": "0g"}, "`hex`"),
        ({"kind": "blank", "on": "socket", "tokens": []}, "`tokens`"),
        ({"kind": "blank", "on": "socket", "tokens": [-1]}, "`tokens`"),
        ({"kind": "blank", "on": "socket", "tokens": [True]}, "`tokens`"),
        ({"kind": "slow", "on": "socket", "seconds": None, "copies": 2}, "'copies'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_its_list(
    control: SimulatorControl, faulty_simulator: RunningSimulator, rule: Any, reason: str
) -> None:
    answer = requests.post(
        f"{faulty_simulator.http_root}/_control/faults",
        json=[{"kind": "pass"}, rule],
        headers={"Authorization": f"Bearer {CONTROL_TOKEN}"},
        timeout=5,
    )
    assert answer.status_code == 400
    assert reason in answer.json()["message"]
    assert control.rules() == []


def test_nothing_that_goes_wrong_on_request_is_an_error_of_the_simulators(
    control: SimulatorControl, victim: KiteConnect, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("reset", "truncate", "hang", "drip", "oversize", "delay"):
        control.add(kind, times=1)
        profile(victim, patience=0.001)  # some answers are under way when the client leaves
    deadline = time.monotonic() + 15
    while sum(control.counters().answers().values()) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert control.counters().answers()["none"] >= 3
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
