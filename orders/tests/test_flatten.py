"""Getting out: everything once, what was sold first, in slices, and nothing on hearsay."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from market.models import Instrument
from market.prices import MarketPrice
from orders import flatten
from orders.execute import drain
from orders.flatten import Left, plan, slices
from orders.halts import Scope, set_state
from orders.models import OrderTask, TradingState
from orders.states import Operation
from orders.tests.conftest import Submit, posts
from orders.tests.trading import TODAY, Trader, quote

CALL, PUT = "NIFTY26DEC26000CE", "NIFTY26DEC25000PE"


def price(last: str | None, *, is_fresh: bool = True) -> MarketPrice:
    return MarketPrice(Decimal(last) if last else None, None, None, None, 0.1, is_fresh, "simulated")


def left(quantity: int, symbol: str = CALL, **changes: Any) -> Left:
    return Left("NFO", symbol, "NRML", quantity, **{"lot_size": 75, "freeze_quantity": 1800} | changes)


# --- the plan --------------------------------------------------------------------------------------------------------


@given(quantity=st.integers(0, 200_000), freeze=st.none() | st.integers(1, 5_000), lot_size=st.integers(1, 600))
def test_slices_add_up_and_each_passes(quantity: int, freeze: int | None, lot_size: int) -> None:
    found = slices(quantity, freeze, lot_size)
    assert sum(found) == quantity
    assert all(part > 0 for part in found)
    if freeze is not None and freeze >= lot_size:
        assert all(part <= freeze for part in found)
        assert all(part % lot_size == 0 for part in found[:-1])
        assert quantity % lot_size or all(part % lot_size == 0 for part in found)


@given(st.lists(st.tuples(st.integers(-6000, 6000), st.sampled_from([CALL, PUT, "NIFTY26DECFUT"])), max_size=8))
def test_whatever_is_held_is_exited_exactly_and_what_was_sold_first(held: list[tuple[int, str]]) -> None:
    orders = plan([left(quantity, f"{symbol}{number}") for number, (quantity, symbol) in enumerate(held)], None)
    sides = [order.transaction_type for order in orders]
    assert sides == sorted(sides), "every BUY before every SELL"
    sums: dict[str, int] = {}
    for order in orders:
        assert order.is_exit
        change = order.quantity if order.is_buy else -order.quantity
        sums[order.tradingsymbol] = sums.get(order.tradingsymbol, 0) + change
    assert sums == {f"{symbol}{number}": -quantity for number, (quantity, symbol) in enumerate(held) if quantity}


@given(last=st.decimals("0.05", 5000, places=2), percent=st.decimals("0.01", 20, places=2), buys=st.booleans())
def test_a_limit_lies_through_the_market_on_the_tick_and_not_farther_than_it_says(
    last: Decimal, percent: Decimal, buys: bool
) -> None:
    (order,) = plan([left(-75 if buys else 75, price=price(str(last)))], percent)
    assert order.price is not None
    assert order.price % Decimal("0.05") == 0
    worse = order.price - last if buys else last - order.price
    assert worse <= last * percent / 100 or order.price == Decimal("0.05")


@pytest.mark.parametrize("known", [None, price(None), price("120", is_fresh=False)], ids=["none", "empty", "old"])
def test_without_a_current_price_an_exit_goes_at_the_market_with_the_brokers_own_band(
    known: MarketPrice | None,
) -> None:
    (order,) = plan([left(75, price=known)], Decimal(2))
    assert (str(order.order_type), order.price, order.market_protection) == ("MARKET", None, Decimal(-1))


# --- at the broker ---------------------------------------------------------------------------------------------------


def position(quantity: int, symbol: str = CALL, **changes: Any) -> dict[str, Any]:
    return {
        "tradingsymbol": symbol,
        "exchange": "NFO",
        "product": "NRML",
        "quantity": quantity,
        "overnight_quantity": quantity,
        "multiplier": 1,
        "average_price": 120.5,
    } | changes


Holds = Callable[..., None]


@pytest.fixture
def holds(broker: ScriptedBroker) -> Holds:
    """What the broker says that the account holds."""
    broker.answer("GET /trades", Answer([]))
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    Instrument.objects.create(
        exchange="NFO",
        tradingsymbol=PUT,
        instrument_token=1002,
        name="NIFTY",
        expiry=date(2026, 12, 29),
        strike=25000,
        lot_size=75,
        tick_size=Decimal("0.05"),
        instrument_type="PE",
        segment="NFO-OPT",
        first_seen=TODAY,
        last_seen=TODAY,
    )

    def holds(*rows: dict[str, Any]) -> None:
        broker.answer("GET /portfolio/positions", Answer({"net": list(rows), "day": []}))

    return holds


def ask(trader: Trader, key: str = "out", **body: Any) -> Any:
    return trader.send("post", f"/api/v1/trading-accounts/{trader.account.public_id}/flatten", body, key=key)


def exits(told: Any) -> list[tuple[str, int, str]]:
    return [
        (one["params"]["transaction_type"], one["params"]["quantity"], one["params"]["tradingsymbol"])
        for one in told["exits"]
    ]


OUT = [("BUY", 75, PUT), ("SELL", 1800, CALL), ("SELL", 1800, CALL), ("SELL", 150, CALL)]


def test_everything_is_exited_in_slices_shorts_first_and_asking_again_exits_nothing_twice(
    trader: Trader, holds: Holds, broker: ScriptedBroker
) -> None:
    holds(position(3750), position(-75, PUT), position(0, "NIFTY26DEC24000PE"))
    first = ask(trader)
    assert (first.status_code, exits(first.json())) == (202, OUT)
    assert first.json()["refused"] == []
    assert set(OrderTask.objects.values_list("operation", flat=True)) == {Operation.EXIT}
    again = ask(trader)
    assert (again.status_code, exits(again.json())) == (200, OUT)
    other = ask(trader, key="another")
    assert (other.status_code, other.json()["exits"], other.json()["refused"]) == (200, [], [])
    drain(trader.account)
    assert posts(broker) == 4
    assert next(one.form["transaction_type"] for one in broker.asked if one.method == "POST") == "BUY"


def test_it_goes_out_in_a_halt(trader: Trader, holds: Holds, broker: ScriptedBroker) -> None:
    holds(position(75))
    set_state(Scope(), TradingState.State.HALTED, actor="user:1", reason="drill")
    assert ask(trader).status_code == 202
    drain(trader.account)
    assert posts(broker) == 1


def test_positions_that_cannot_be_read_flatten_nothing(trader: Trader, holds: Holds, broker: ScriptedBroker) -> None:
    holds(position(75))
    broker.answer("GET /portfolio/positions", Answer("?", status=502, content_type="text/html"))
    refused = ask(trader)
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "positions_unknown")
    assert "nothing was sent" in refused.json()["error"]["message"]
    assert not OrderTask.objects.exists()


def test_an_answer_that_is_not_believed_flattens_nothing(trader: Trader, holds: Holds) -> None:
    holds(position(75))
    assert ask(trader, preview=True).status_code == 200
    holds()
    refused = ask(trader)
    assert refused.json()["error"]["code"] == "positions_unknown"
    assert CALL in refused.json()["error"]["message"]
    assert not OrderTask.objects.exists()


def test_only_what_is_named_is_exited(trader: Trader, holds: Holds) -> None:
    holds(position(75), position(-75, PUT))
    named = [{"exchange": "NFO", "tradingsymbol": symbol, "product": "NRML"} for symbol in (PUT, "NIFTY26DECFUT")]
    told = ask(trader, positions=named).json()
    assert exits(told) == [("BUY", 75, PUT)]
    assert [(one["position"]["tradingsymbol"], one["reason"]) for one in told["left_alone"]] == [
        ("NIFTY26DECFUT", "the account holds none of it")
    ]


def test_what_is_left_after_exits_under_way_is_exited(trader: Trader, holds: Holds, submit: Submit) -> None:
    holds(position(225))
    submit("by hand", operation=Operation.EXIT, transaction_type="SELL", quantity=150)
    assert exits(ask(trader).json()) == [("SELL", 75, CALL)]


def test_entries_in_the_same_instruments_are_cancelled_first(trader: Trader, holds: Holds, submit: Submit) -> None:
    holds(position(75))
    waiting = submit("waiting")
    elsewhere = submit("elsewhere", tradingsymbol=PUT)
    told = ask(trader).json()
    assert [one["id"] for one in told["cancels"]] == [str(waiting.public_id)]
    waiting.refresh_from_db()
    elsewhere.refresh_from_db()
    assert (waiting.error_code, elsewhere.status) == ("cancelled_before_send", "pending")


def test_a_slice_that_is_refused_stops_no_other_one(trader: Trader, holds: Holds) -> None:
    holds(position(75), position(10, "GONE26DECFUT"))
    told = ask(trader).json()
    assert exits(told) == [("SELL", 75, CALL)]
    (refused,) = told["refused"]
    assert refused["request"]["tradingsymbol"] == "GONE26DECFUT"
    assert "unknown_symbol" in [check["code"] for check in refused["checks"]]


def test_a_preview_says_what_would_be_sent_and_sends_nothing(trader: Trader, holds: Holds) -> None:
    holds(position(75), position(-75, PUT))
    quote(100.0)
    told = ask(trader, preview=True, limit_percent="2").json()
    assert [(one["transaction_type"], one["order_type"], one["price"]) for one in told["plan"]] == [
        ("BUY", "MARKET", None),
        ("SELL", "LIMIT", "98"),
    ]
    assert not OrderTask.objects.exists()


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"limit_percent": "0"}, "limit_percent"),
        ({"limit_percent": "20.01"}, "limit_percent"),
        ({"positions": []}, "positions"),
        ({"positions": [{"exchange": "NFO"}]}, "positions"),
        ({"everything": True}, "everything"),
    ],
    ids=str,
)
def test_what_cannot_be_read_flattens_nothing(trader: Trader, changes: dict[str, Any], field: str) -> None:
    response = ask(trader, **changes)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]


def test_it_takes_a_key(trader: Trader) -> None:
    assert ask(trader, key="x" * 81).json()["error"]["code"] == "idempotency_key_required"


def test_the_command_flattens_and_can_be_repeated(
    trader: Trader, holds: Holds, capsys: pytest.CaptureFixture[str]
) -> None:
    holds(position(75), position(-75, PUT))
    call_command("flatten", "--account", "AB1234", "--dry-run")
    assert f"BUY 75 NFO:{PUT} MARKET" in capsys.readouterr().out
    call_command("flatten", "--account", "AB1234", "--position", f"NFO:{PUT}:NRML", "--key", "one")
    out = capsys.readouterr().out
    assert f"BUY 75 {PUT} MARKET: pending" in out
    assert "--key one" in out
    call_command("flatten", "--account", "AB1234", "--key", "one")
    assert OrderTask.objects.count() == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--account", "ZZ9999"],
        ["--account", "AB1234", "--position", "NFO"],
        ["--account", "AB1234", "--limit-percent", "21"],
        ["--account", "AB1234", "--limit-percent", "much"],
        ["--account", "AB1234", "--key", "no spaces"],
    ],
    ids=str,
)
def test_the_command_says_what_it_cannot_read(account: TradingAccount, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("flatten", *arguments)
    assert flatten.LONGEST_KEY == 80
