"""How many orders a user may send."""

from dataclasses import replace

import pytest
from kiteconnect import exceptions as kite_exceptions

from simulator.options import DEMO_APP, DEMO_USER, DemoUser, SimulatorOptions
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.tests.running import OPEN, SetClock, running
from simulator.tests.trading import INFY, NIFTY_CALL, TradingFloor
from simulator.trading.limits import OrderLimits


def test_ten_in_a_calendar_second_whatever_they_are(options: SimulatorOptions) -> None:
    limited = replace(options, rules=Rules(rate_limits=True), order_ms=0)
    system_clock = SetClock(OPEN + 0.5)
    with running(limited, SetClock(OPEN), system_clock) as simulator:
        kite = simulator.client()
        logins = simulator.broker.logins
        kite.generate_session(logins.request_token(DEMO_USER, DEMO_APP), DEMO_APP.api_secret)
        order = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "product": "CNC"}
        more = {"order_type": "LIMIT", "price": 1500}
        order_id = kite.place_order("regular", **order, **more, quantity=1)
        for _ in range(4):
            kite.place_order("regular", **order, **more, quantity=1)
        with pytest.raises(kite_exceptions.InputException):
            kite.place_order("regular", **order, **more, quantity=0)  # a refused one counts
        kite.modify_order("regular", order_id, price=1501)
        for _ in range(2):
            with pytest.raises(kite_exceptions.GeneralException):
                kite.cancel_order("regular", "1")
        kite.cancel_order("regular", order_id)
        with pytest.raises(kite_exceptions.NetworkException, match="Too many requests") as refused:
            kite.place_order("regular", **order, **more, quantity=1)
        assert refused.value.code == 429
        assert len(kite.orders()) == 5  # reading is counted elsewhere
        system_clock.moment += 0.5
        assert kite.place_order("regular", **order, **more, quantity=1)


def test_four_hundred_in_a_minute() -> None:
    clock = SetClock(60_000.0)
    limits = OrderLimits(clock)
    for number in range(400):
        clock.moment = 60_000 + number // 10
        limits.count_request("AB1234")
    clock.moment += 10
    limits.count_request("XY5678")
    with pytest.raises(Refused, match=r"Maximum allowed order requests exceeded\.") as refused:
        limits.count_request("AB1234")
    assert (refused.value.status, refused.value.error_type) == (429, "NetworkException")
    clock.moment = 60_060
    limits.count_request("AB1234")


@pytest.mark.parametrize("cools_down", [False, True])
def test_one_too_many_may_be_followed_by_ten_seconds_of_refusals(cools_down: bool) -> None:
    clock = SetClock(60_000.0)
    limits = OrderLimits(clock, cools_down=cools_down)
    for _ in range(10):
        limits.count_request("AB1234")
    with pytest.raises(Refused, match="Too many requests"):
        limits.count_request("AB1234")
    limits.count_request("XY5678")
    clock.moment += 9
    if cools_down:
        with pytest.raises(Refused, match="Too many requests"):
            limits.count_request("AB1234")
    clock.moment += 1
    limits.count_request("AB1234")


def test_five_thousand_in_a_day_of_which_each_leg_is_one() -> None:
    limits = OrderLimits(SetClock(OPEN))
    for _ in range(5_000):
        limits.count_orders("AB1234")
    with pytest.raises(Refused, match="Maximum allowed order requests exceeded"):
        limits.count_orders("AB1234")
    limits.new_day()
    limits.count_orders("AB1234")


def test_slices_and_legs_count_in_the_day(floor: TradingFloor) -> None:
    limited = TradingFloor(floor.market, rules=Rules(rate_limits=True))
    limits = limited.desk.lifecycle.limits
    limited.place(NIFTY_CALL, "BUY", 65 * 60, price=5, product="NRML", autoslice="true")
    limited.show(INFY, offers=[(1600, 1000)], last=1600)
    limited.order(INFY, "BUY", 100, price=1600, variety="iceberg", iceberg_legs=2, iceberg_quantity=50)
    assert limits.orders_today("AB1234") == 5


def test_users_do_not_count_for_each_other_and_share_nothing(options: SimulatorOptions) -> None:
    users = tuple(
        DemoUser(
            f"ZZ{number:04d}", "p", options.users[0].totp_secret, cash=50_000.0 * number, holdings={"SBIN": number}
        )
        for number in range(1, 4)
    )
    with running(replace(options, users=users, order_ms=0), SetClock(OPEN)) as simulator:
        logins = simulator.broker.logins
        for number, user in enumerate(users, 1):
            kite = simulator.client()
            kite.generate_session(logins.request_token(user, DEMO_APP), DEMO_APP.api_secret)
            assert kite.orders() == []
            assert kite.margins("equity")["net"] == 50_000 * number
            assert [(h["tradingsymbol"], h["quantity"]) for h in kite.holdings()] == [("SBIN", number)]
            order = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "product": "CNC"}
            kite.place_order("regular", **order, quantity=1, order_type="LIMIT", price=1500)
            assert [row["placed_by"] for row in kite.orders()] == [user.user_id]
