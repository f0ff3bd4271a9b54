"""Many clients at once, a broker that lies: its list of what it took is what they can conclude, no more and no less."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.options import DEMO_APP, DEMO_USER, DemoUser, SimulatorOptions
from simulator.tests.running import OPEN, SetClock, running, with_control

USERS = tuple(DemoUser(f"ZZ{n:04d}", "p", DEMO_USER.totp_secret, cash=1e8) for n in range(8))
ORDERS = 30
TAKEN, NOT_TAKEN = "taken", "not taken"
_PLACE = {"method": "POST", "path": "/orders/{variety}", "probability": 0.12}


def place(kite: KiteConnect, tag: str) -> tuple[str, str]:
    """The tag, and what the answer means: each kind of answer is made by one rule, so that it is known."""
    try:
        kite.place_order(
            "regular", exchange="NSE", tradingsymbol="INFY", transaction_type="BUY", product="MIS", quantity=1,
            order_type="LIMIT", price=1500, tag=tag,
        )  # fmt: skip
    except requests.ConnectionError:
        return tag, NOT_TAKEN
    except kite_exceptions.NetworkException as exc:
        assert exc.code == 429
        return tag, NOT_TAKEN
    except kite_exceptions.DataException:
        return tag, TAKEN  # the page of a proxy
    except kite_exceptions.InputException as exc:
        assert "timed out" in str(exc)
        return tag, TAKEN
    return tag, TAKEN


def test_the_list_is_what_the_clients_can_conclude(options: SimulatorOptions) -> None:
    with running(replace(with_control(options), users=USERS, order_ms=0), SetClock(OPEN)) as simulator:
        logins, control = simulator.broker.logins, simulator.control()
        clients = []
        for user in USERS:
            kite = simulator.client()
            kite.generate_session(logins.request_token(user, DEMO_APP), DEMO_APP.api_secret)
            clients.append(kite)
        control.script(
            {"kind": "html", "status": 502, "after_work": True, "seed": 1, **_PLACE},
            {
                "kind": "error",
                "status": 400,
                "message": "Order timed out.",
                "after_work": True,
                "seed": 2,
                **_PLACE,
            },
            {"kind": "error", "status": 429, "seed": 3, **_PLACE},
            {"kind": "reset", "seed": 4, **_PLACE},
        )
        twins = control.add("twin", on="order", probability=0.1, seed=5)

        def trade(number: int) -> list[tuple[str, str]]:
            return [place(clients[number], f"u{number}o{index}") for index in range(ORDERS)]

        with ThreadPoolExecutor(len(clients)) as pool:
            concluded = dict(outcome for outcomes in pool.map(trade, range(len(clients))) for outcome in outcomes)
        orders = control.orders()
        taken = Counter(order.tag for order in orders if order.sent)
        assert taken == Counter(tag for tag, outcome in concluded.items() if outcome is TAKEN)
        assert 0 < len(taken) < len(concluded) == len(USERS) * ORDERS
        assert sum(not order.sent for order in orders) == control.hits(twins) > 0
        assert {order.times for order in orders} == {1, 2}
        assert all(order.tag and order.user_id == f"ZZ{int(order.tag[1]):04d}" for order in orders)
        for user in USERS:  # each of whom has one request under way at a time
            theirs = [order.arrived_at for order in orders if order.sent and order.user_id == user.user_id]
            assert theirs == sorted(theirs)
        # The books are the list.
        listed = [row["order_id"] for kite in clients for row in kite.orders()]
        assert sorted(listed) == sorted(order.order_id for order in orders)
        control.close()
