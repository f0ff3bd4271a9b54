"""The positions page: what is known as numbers, what is not as a dash, and what does not agree in words."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client

from accounts import clock
from accounts.actions import Action
from accounts.models import Grant, TradingAccount
from dashboard.positions import amount, group_of, totals_of
from market.exceptions import PricesUnavailable
from orders import portfolio
from orders.drift import Difference
from orders.models import PortfolioReading, Position
from orders.portfolio import PortfolioView, PositionView

AT = datetime(2026, 11, 25, 5, 12, tzinfo=UTC)
HELD = PositionView(
    exchange="NFO",
    tradingsymbol="NIFTY26D0124300PE",
    product="NRML",
    quantity=-130,
    overnight_quantity=0,
    day_quantity=-130,
    multiplier=Decimal(1),
    average_price=Decimal("58.20"),
    last_price=Decimal("41.00"),
    price_age_seconds=0.4,
    price_is_fresh=True,
    booked=Decimal(0),
    open_pnl=Decimal("2236.00"),
    pnl=Decimal("2236.00"),
    day_pnl=Decimal("2236.00"),
    delta=23.8,
    underlying="NIFTY",
    broker_last_price=Decimal("41.05"),
    broker_pnl=Decimal("2229.50"),
    broker_day_pnl=Decimal("2229.50"),
)
CLOSED = replace(HELD, tradingsymbol="INFY", exchange="NSE", quantity=0, booked=Decimal("-962.00"), open_pnl=Decimal(0))
ACCOUNT = TradingAccount(kite_user_id="AB1234", label="Asha")
LOTS = {"NFO:NIFTY26D0124300PE": 65}


def view(*positions: PositionView, **changes: Any) -> PortfolioView:
    known: dict[str, Any] = {
        "positions": positions,
        "read_at": AT,
        "age_seconds": 12.0,
        "is_of_today": True,
        "is_outdated": False,
        "doubts": [],
        "failed_at": None,
        "failure": "",
        "booked": Decimal("-962.00"),
        "open_pnl": Decimal("2236.00"),
        "pnl": Decimal("1274.00"),
        "day_pnl": Decimal("1274.00"),
    }
    return PortfolioView(**known | changes)


def test_a_position_is_shown_in_lots_with_signs_and_open_and_booked_apart() -> None:
    group = group_of(ACCOUNT, view(CLOSED, HELD), LOTS, [])
    held, closed = group.lines
    assert (held.lots, held.quantity, held.is_long) == ("−2 lots", "−130", False)
    assert (held.average, held.last, held.open_pnl.text, held.delta) == ("58.20", "41.00", "+₹2,236", "+23.8")
    assert (closed.is_closed, closed.lots, closed.open_pnl.text, closed.booked.text) == (True, "", "–", "−₹962")
    assert (group.total.text, group.open_pnl.text, group.booked.text) == ("+₹1,274", "+₹2,236", "−₹962")
    assert group.read == "read 12 s ago"
    assert group.notes == []


def test_what_is_not_known_is_a_dash_and_never_nought() -> None:
    unknown = replace(HELD, price_is_fresh=False, open_pnl=None, pnl=None, day_pnl=None, delta=None)
    group = group_of(ACCOUNT, view(unknown, pnl=None, open_pnl=None, day_pnl=None), LOTS, [])
    (line,) = group.lines
    assert (line.is_old, line.last, line.open_pnl.text, line.delta) == (True, "41.00", "–", "–")
    assert (group.total.text, group.delta, group.broker) == ("–", "–", "")
    both = totals_of([view(HELD), view(unknown, pnl=None)])
    assert (both.total.text, both.booked.text, both.positions) == ("–", "−₹1,924", 2)


def test_the_brokers_own_figure_is_told_with_how_far_it_is_from_ours() -> None:
    group = group_of(ACCOUNT, view(HELD, pnl=Decimal("2236.00")), LOTS, [])
    assert group.broker == "The broker’s own figure was +₹2,230 when read, ₹6.50 apart."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"read_at": None, "age_seconds": None}, "never read"),
        ({"is_of_today": False}, "of an earlier day"),
        ({"doubts": ["order 9 is not in the order book"]}, "not believed yet; these are from before: order 9"),
        ({"failure": "timed out", "failed_at": AT.replace(hour=6)}, "failed: timed out"),
        ({"is_outdated": True}, "read again in a moment"),
    ],
)
def test_what_is_wrong_with_a_reading_is_said(changes: dict[str, Any], words: str) -> None:
    notes = group_of(ACCOUNT, view(HELD, **changes), LOTS, []).notes
    assert any(words in note for note in notes)


def test_differences_are_told_and_orders_placed_elsewhere_are_counted() -> None:
    differences = [Difference("orphan", "Order 7 has a tag of ours and no task."), Difference("external", "Order 8.")]
    group = group_of(ACCOUNT, view(HELD), LOTS, differences)
    assert [one.words for one in group.differences] == ["Order 7 has a tag of ours and no task."]
    assert group.elsewhere == 1


@pytest.mark.parametrize(
    ("value", "text"), [("0", "₹0"), ("0.3", "₹0"), ("-0.3", "₹0"), ("1842310", "+₹18,42,310"), ("-962", "−₹962")]
)
def test_rupees_are_whole_and_grouped_as_in_india(value: str, text: str) -> None:
    assert amount(Decimal(value)).text == text


# --- the page --------------------------------------------------------------------------------------------------------


def read(client: Client, user: User, **headers: str) -> str:
    client.force_login(user)
    answer = client.get("/positions/", headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def hold(account: TradingAccount, symbols: Sequence[str]) -> None:
    PortfolioReading.objects.create(account=account, trading_date=clock.today(), read_at=Now())
    for symbol in symbols:
        Position.objects.create(
            account=account,
            exchange="NSE",
            tradingsymbol=symbol,
            product="CNC",
            quantity=10,
            average_price="1500.05",
            buy_quantity=10,
            buy_value="15000.50",
            value="-15000.50",
            last_price="1490",
            pnl="-100.50",
            read_at=Now(),
        )


@pytest.mark.usefixtures("valkey")
def test_the_page_shows_ones_own_accounts_and_no_others(
    client: Client, asha: User, account: TradingAccount, foreign: TradingAccount
) -> None:
    hold(account, ["INFY"])
    hold(foreign, ["SECRETCO"])
    html = read(client, asha)
    assert "INFY" in html
    assert "1500.05" in html
    assert "SECRETCO" not in html
    assert foreign.label not in html


@pytest.mark.usefixtures("valkey")
def test_asked_again_it_is_the_board_alone(client: Client, asha: User, account: TradingAccount) -> None:
    html = read(client, asha, **{"HX-Request": "true"})
    assert html.lstrip().startswith('<div id="board"')
    assert "<html" not in html


@pytest.mark.usefixtures("valkey")
def test_who_may_only_read_is_offered_no_exit(client: Client, ravi: User, account: TradingAccount) -> None:
    hold(account, ["INFY"])
    assert "data-exit-all" in read(client, account.owner)
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    html = read(client, ravi)
    assert "INFY" in html
    assert "data-exit-all" not in html
    assert "Exit…" not in html


def test_without_redis_it_shows_what_is_held_and_no_results(
    client: Client, asha: User, account: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise PricesUnavailable

    monkeypatch.setattr(portfolio, "prices_of", away)
    hold(account, ["INFY"])
    html = read(client, asha)
    assert "INFY" in html
    assert "Not a price of now" in html
