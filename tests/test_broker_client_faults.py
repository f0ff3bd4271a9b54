"""What the service's own broker client makes of each way in which the broker can fail."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.broker.client import BrokerClient
from accounts.exceptions import (
    BrokerError,
    BudgetExhausted,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    SessionExpired,
)
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control

PROFILE = "/user/profile"

pytestmark = pytest.mark.usefixtures("valkey")  # its budget, breaker and places: fresh ones for each test


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running(with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def access_token(simulator: RunningSimulator) -> str:
    token: str = simulator.logged_in().access_token
    return token


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.reset_counters()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def client(simulator: RunningSimulator, access_token: str, settings: Settings) -> BrokerClient:
    settings.KITE_API_ROOT = simulator.http_root
    return BrokerClient(DEMO_APP.api_key, access_token, account="AB1234")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"kind": "error", "status": 400}, RequestRejected),
        ({"kind": "error", "status": 400, "error_type": "MarginException"}, RequestRejected),
        ({"kind": "error", "status": 400, "error_type": "OrderException"}, RequestRejected),
        (
            {"kind": "error", "status": 400, "error_type": "OrderException", "message": "Request timed out."},
            OutcomeUnknown,
        ),
        ({"kind": "error", "status": 403}, SessionExpired),
        ({"kind": "error", "status": 403, "error_type": "PermissionException"}, RequestRejected),
        ({"kind": "html", "status": 403}, OutcomeUnknown),
        ({"kind": "html", "status": 404}, OutcomeUnknown),
        ({"kind": "error", "status": 429}, RateLimited),
        ({"kind": "html", "status": 429}, RateLimited),
        ({"kind": "error", "status": 500}, OutcomeUnknown),
        ({"kind": "error", "status": 500, "after_work": True}, OutcomeUnknown),
        ({"kind": "html", "status": 502, "after_work": True}, OutcomeUnknown),
        ({"kind": "error", "status": 503}, OutcomeUnknown),
        ({"kind": "html", "status": 504}, OutcomeUnknown),
        ({"kind": "error", "status": 200}, OutcomeUnknown),
        ({"kind": "html", "status": 200, "body": ""}, OutcomeUnknown),
        ({"kind": "html", "status": 200, "body": "[]", "content_type": "application/json"}, OutcomeUnknown),
        ({"kind": "redirect"}, OutcomeUnknown),
        ({"kind": "redirect", "status": 302}, OutcomeUnknown),
        ({"kind": "reset"}, OutcomeUnknown),
        ({"kind": "reset", "after_work": True}, OutcomeUnknown),
        ({"kind": "truncate"}, OutcomeUnknown),
        ({"kind": "truncate", "bytes": 0}, OutcomeUnknown),
    ],
    ids=str,
)
def test_a_failure_says_what_it_says_about_the_request(
    control: SimulatorControl, client: BrokerClient, fault: dict[str, Any], expected: type[BrokerError]
) -> None:
    control.script(fault | {"path": PROFILE, "times": 1})
    with pytest.raises(BrokerError) as caught:
        client.profile()
    assert type(caught.value) is expected
    assert control.counters().calls() == 1  # neither repeated nor sent after a redirect
    assert client.profile()


@pytest.mark.parametrize("after_work", [False, True])
@pytest.mark.parametrize("fault", [{"kind": "hang"}, {"kind": "delay", "seconds": 5}], ids=str)
def test_no_answer_in_time_leaves_it_unknown(
    control: SimulatorControl,
    simulator: RunningSimulator,
    access_token: str,
    settings: Settings,
    fault: dict[str, Any],
    after_work: bool,
) -> None:
    settings.KITE_API_ROOT, settings.KITE_TIMEOUT_SECONDS = simulator.http_root, 0.3
    control.script(fault | {"after_work": after_work, "path": PROFILE, "times": 1})
    with pytest.raises(OutcomeUnknown):
        BrokerClient(DEMO_APP.api_key, access_token, account="AB1234").profile()
    assert control.counters().calls() == 1


@pytest.mark.parametrize("kind", ["error", "html"])
def test_the_wait_that_a_rate_limit_asks_for_is_told_and_kept(
    control: SimulatorControl, client: BrokerClient, kind: str
) -> None:
    control.add(kind, status=429, retry_after="9", path=PROFILE, times=1)
    with pytest.raises(RateLimited) as caught:
        client.profile()
    assert caught.value.retry_after_seconds == 9
    with pytest.raises(BudgetExhausted, match="asked app …key1 to wait"):
        client.profile()
    assert control.counters().calls() == 1


def test_a_true_answer_counts_whatever_its_type_and_pace(control: SimulatorControl, client: BrokerClient) -> None:
    control.script(
        {"kind": "content_type", "content_type": "text/html", "path": PROFILE, "times": 1},
        {"kind": "delay", "seconds": 0.1, "path": PROFILE, "times": 1},
        {"kind": "drip", "bytes": 100, "seconds": 0.05, "path": PROFILE, "times": 1},
    )
    assert [client.profile()["user_id"] for _ in range(3)] == ["AB1234"] * 3


@pytest.mark.parametrize(
    "fault", [{"kind": "drip", "bytes": 100, "seconds": 0.4}, {"kind": "oversize", "bytes": 32 << 20}], ids=str
)
def test_an_answer_without_end_is_cut_and_leaves_it_unknown(
    control: SimulatorControl,
    simulator: RunningSimulator,
    access_token: str,
    settings: Settings,
    fault: dict[str, Any],
) -> None:
    settings.KITE_API_ROOT, settings.KITE_TIMEOUT_SECONDS = simulator.http_root, 1.0
    control.script(fault | {"path": PROFILE, "times": 1})
    with pytest.raises(OutcomeUnknown):
        BrokerClient(DEMO_APP.api_key, access_token, account="AB1234").profile()


def test_a_killed_token_is_an_expired_session(
    control: SimulatorControl, simulator: RunningSimulator, settings: Settings
) -> None:
    settings.KITE_API_ROOT = simulator.http_root
    client = BrokerClient(DEMO_APP.api_key, simulator.logged_in().access_token, account="AB1234")
    control.kill_tokens()
    with pytest.raises(SessionExpired):
        client.profile()


def test_a_dump_that_breaks_off_or_becomes_a_page_is_unknown(control: SimulatorControl, client: BrokerClient) -> None:
    control.script(
        {"kind": "truncate", "path": "/instruments", "times": 1},
        {"kind": "content_type", "path": "/instruments", "times": 1},
    )
    for _ in range(2):
        with pytest.raises(OutcomeUnknown):
            b"".join(client.instruments_csv())
    assert len(b"".join(client.instruments_csv())) > 1_000_000
