"""Out of real positions at the simulated broker: it holds nothing afterwards, and took each slice once."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time
from decimal import Decimal
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from kiteconnect import KiteConnect
from pytest_django import Settings

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market.models import Instrument, TradingSession
from orders.book import read_book
from orders.execute import drain, may_send
from orders.flatten import Flattened, PositionsUnknown, Wish, flatten
from orders.halts import Scope, set_state
from orders.models import OrderTask, TradingState
from orders.states import Status
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control
from tests.order_processes import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

CALL, SHARE = "NIFTY26D0126000CE", "INFY"
NOON = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
TODAY = NOON.date()


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    with running(replace(options, order_ms=0)) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def kite(simulator: RunningSimulator) -> KiteConnect:
    return simulator.logged_in()


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.clear()
    control.reset_orders()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def account(
    simulator: RunningSimulator, kite: KiteConnect, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> TradingAccount:
    settings.KITE_API_ROOT = simulator.http_root
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 10, 2
    monkeypatch.setattr(clock, "now", lambda: NOON)
    monkeypatch.setattr(clock, "today", lambda: TODAY)
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_trading=True)
    store_session(account, {"user_id": "AB1234", "access_token": kite.access_token})
    list_instruments(kite)
    return account


def list_instruments(kite: KiteConnect) -> None:
    """The two that are traded, as the broker lists them, and today's hours."""
    for exchange, symbol in (("NFO", CALL), ("NSE", SHARE)):
        row = next(row for row in kite.instruments(exchange) if row["tradingsymbol"] == symbol)
        Instrument.objects.create(
            exchange=exchange,
            tradingsymbol=symbol,
            instrument_token=row["instrument_token"],
            name=row["name"],
            expiry=row["expiry"] or None,
            strike=Decimal(str(row["strike"])),
            tick_size=Decimal(str(row["tick_size"])),
            lot_size=row["lot_size"],
            instrument_type=row["instrument_type"],
            segment=row["segment"],
            first_seen=TODAY,
            last_seen=TODAY,
        )
    for exchange, segment in (("NFO", "derivatives"), ("NSE", "equity")):
        TradingSession.objects.create(
            exchange=exchange,
            segment=segment,
            date=TODAY,
            kind="regular",
            opens_at=time(9, 15),
            closes_at=time(15, 30),
            source="test",
        )


def trade(kite: KiteConnect, exchange: str, symbol: str, side: str, quantity: int, product: str) -> None:
    """At the market, by hand."""
    kite.place_order(
        "regular", exchange, symbol, side, quantity, product, "MARKET", validity="DAY", market_protection=10
    )


def held(kite: KiteConnect) -> dict[str, int]:
    return {row["tradingsymbol"]: row["quantity"] for row in kite.positions()["net"] if row["quantity"]}


def out(account: TradingAccount, key: str = "out") -> Flattened:
    return flatten("user:1", account, Wish(), key=key)


def test_out_of_everything_in_a_halt_shorts_first_in_slices_and_once(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot = Instrument.objects.get(tradingsymbol=CALL).lot_size
    monkeypatch.setattr(
        "orders.flatten.freeze_quantity", lambda instrument, day: 2 * lot if instrument.expiry else None
    )
    trade(kite, "NSE", SHARE, "BUY", 5, "MIS")
    trade(kite, "NFO", CALL, "SELL", 3 * lot, "NRML")
    before = held(kite)
    assert set(before) == {SHARE, CALL}
    assert may_send(account)
    set_state(Scope(), TradingState.State.HALTED, actor="user:1", reason="drill")

    done = out(account)
    assert done.refused == []
    assert len(out(account).exits) == len(done.exits), "asked again: the same"
    drain(account, seconds=20)

    tasks = list(OrderTask.objects.order_by("pk"))
    assert {task.status for task in tasks} == {Status.COMPLETED}
    asked = [(task.params["transaction_type"], task.params["quantity"], task.params["tradingsymbol"]) for task in tasks]
    assert asked[-1] == ("SELL", before[SHARE], SHARE)
    assert [side for side, _, symbol in asked if symbol == CALL] == ["BUY"] * len(asked[:-1])
    assert sum(quantity for _, quantity, symbol in asked if symbol == CALL) == -before[CALL]
    assert all(quantity <= 2 * lot for _, quantity, symbol in asked if symbol == CALL)
    taken = [order.tag for order in control.orders(user_id="AB1234")]
    assert [taken.count(task.tag) for task in tasks] == [1] * len(tasks)
    wait_until(lambda: held(kite) == {}, 15, "nothing is left, and nothing was turned around")

    read_book(account)
    again = out(account, key="again")
    assert (again.exits, again.refused) == ([], [])


def test_a_broker_that_does_not_say_what_is_held_is_sent_nothing(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    trade(kite, "NSE", SHARE, "BUY", 5, "MIS")
    control.script({"kind": "html", "status": 502, "method": "GET", "path": "/portfolio/positions"})
    assert may_send(account)
    with pytest.raises(PositionsUnknown, match="nothing was sent"):
        out(account)
    assert not OrderTask.objects.exists()
