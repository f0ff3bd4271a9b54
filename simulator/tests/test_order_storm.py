"""Whatever is asked in whatever order while the market moves: what holds for every order and every account."""

import random
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from simulator.market import Market
from simulator.refusals import Refused
from simulator.tests.trading import INFY, NIFTY_CALL, NIFTY_FUTURE, TradingFloor, states
from simulator.trading.orders import Order, Status
from simulator.trading.terms import Side

LOTS = {INFY: 1, NIFTY_CALL: 65, NIFTY_FUTURE: 65}
PRICES = {INFY: 1600.0, NIFTY_CALL: 400.0, NIFTY_FUTURE: 26_000.0}
_RESTING = {"OPEN", "TRIGGER PENDING"}
_AFTER = {
    "PUT ORDER REQ RECEIVED": {"VALIDATION PENDING", "REJECTED"},
    "VALIDATION PENDING": {"OPEN PENDING", "REJECTED", "AMO REQ RECEIVED"},
    "OPEN PENDING": _RESTING,
    "OPEN": {"OPEN", "COMPLETE", "CANCELLED", "CANCEL PENDING", "MODIFY VALIDATION PENDING"},
    "TRIGGER PENDING": {"OPEN", "CANCELLED", "CANCEL PENDING", "MODIFY VALIDATION PENDING", "MODIFIED"},
    "MODIFY VALIDATION PENDING": {"MODIFY PENDING"},
    "MODIFY PENDING": {"MODIFIED"},
    "MODIFIED": _RESTING,
    "CANCEL PENDING": {"CANCELLED"},
}


class Storm:
    """Random requests and prices, the same for the same seed."""

    def __init__(self, floor: TradingFloor, seed: int) -> None:
        self.floor = floor
        self.dice = random.Random(seed)
        self.refusals: Counter[str] = Counter()

    def rage(self, steps: int) -> None:
        for _ in range(steps):
            action = self.dice.choice(
                (self.place, self.place, self.place, self.change, self.cancel, self.move, self.wait)
            )
            try:
                action()
            except Refused as refusal:
                self.refusals[refusal.message[:30]] += 1

    def price_of(self, key: str) -> float:
        return round(PRICES[key] + self.dice.randint(-60, 60) * 0.1, 2)

    def place(self) -> None:
        key = self.dice.choice(sorted(LOTS))
        quantity = self.dice.randint(1, 12) * LOTS[key]
        is_share = key == INFY
        more: dict[str, Any] = {"product": self.dice.choice(("CNC", "MIS", "MTF") if is_share else ("NRML", "MIS"))}
        match self.dice.randint(0, 7):
            case 0:
                more |= {"order_type": "MARKET", "market_protection": self.dice.choice((-1, 0, 2))}
            case 1:
                more |= {"order_type": "SL", "trigger_price": self.price_of(key), "price": self.price_of(key)}
            case 2:
                more |= {"order_type": "SL-M", "trigger_price": self.price_of(key)}
            case 3:
                more |= {"price": self.price_of(key), "validity": "IOC"}
            case 4:
                more |= {"price": self.price_of(key), "validity": "TTL", "validity_ttl": 1}
            case 5:
                legs = self.dice.randint(2, 4)
                leg = -(-quantity // LOTS[key] // legs) * LOTS[key]
                more |= {
                    "price": self.price_of(key),
                    "variety": "iceberg",
                    "iceberg_legs": legs,
                    "iceberg_quantity": leg,
                }
            case 6:
                more |= {
                    "product": "MIS",
                    "variety": "co",
                    "trigger_price": self.price_of(key),
                    "price": self.price_of(key),
                }
            case _:
                more |= {"price": self.price_of(key), "autoslice": "true", "quantity": quantity * 20}
        self.floor.place(key, self.dice.choice(("BUY", "SELL")), more.pop("quantity", quantity), **more)

    def some_order(self) -> Order | None:
        orders = list(self.floor.account.live.values())
        return self.dice.choice(orders) if orders else None

    def change(self) -> None:
        if (order := self.some_order()) is not None:
            key = f"{order.terms.exchange}:{order.terms.tradingsymbol}"
            lots = self.dice.randint(1, 12) * LOTS[key]
            self.floor.modify(order, price=self.price_of(key), quantity=lots)

    def cancel(self) -> None:
        if (order := self.some_order()) is not None:
            self.floor.cancel(order)

    def move(self) -> None:
        key = self.dice.choice(sorted(LOTS))
        last = self.price_of(key)
        bids = [(round(last - level * 0.1, 2), self.dice.randint(0, 5) * LOTS[key]) for level in range(5)]
        offers = [(round(last + level * 0.1, 2), self.dice.randint(0, 5) * LOTS[key]) for level in range(1, 6)]
        self.floor.show(key, bids=bids, offers=offers, last=last, last_quantity=self.dice.randint(0, 3) * LOTS[key])

    def wait(self) -> None:
        self.floor.clock.moment += self.dice.randint(1, 40)
        self.floor.desk.tick()
        self.floor.schedule.run(self.dice.random())


def assert_sound(floor: TradingFloor) -> None:
    account = floor.account
    blocked: Counter[str] = Counter()
    for order in account.orders.values():
        steps = pairwise(states(order))
        assert [(before, after) for before, after in steps if after not in _AFTER[before]] == []
        assert (order.order_id in account.live) is not order.status.is_final
        assert 0 <= order.filled_quantity <= order.terms.quantity
        trades = [trade for trade in account.trades if trade.order is order]
        assert sum(trade.quantity for trade in trades) == order.filled_quantity
        if order.status is Status.COMPLETE:
            assert order.pending_quantity == 0
        if order.status.is_final:
            assert order.blocked == {}
        blocked.update(order.blocked)
    funds = account.funds(floor.desk.listings)
    assert {use: a for use, a in funds.blocked.items() if a} == {use: a for use, a in blocked.items() if a}
    for (exchange, symbol, product), position in account.portfolio.positions.items():
        deals = [
            trade
            for trade in account.trades
            if (trade.order.terms.exchange, trade.order.terms.tradingsymbol) == (exchange, symbol)
            and trade.order.terms.product is product
        ]
        assert position.quantity == sum(t.order.terms.transaction_type.sign * t.quantity for t in deals)
        assert position.day_buy_value == sum(
            t.quantity * t.price for t in deals if t.order.terms.transaction_type is Side.BUY
        )


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("order_seconds", [0.0, 0.2])
def test_a_storm_of_requests_leaves_every_book_sound(still_market: Market, seed: int, order_seconds: float) -> None:
    floor = TradingFloor(still_market, order_seconds=order_seconds)
    storm = Storm(floor, seed)
    for _ in range(5):
        storm.rage(80)
        assert_sound(floor)
    seen = Counter(order.status for order in floor.account.orders.values())
    assert {Status.COMPLETE, Status.CANCELLED, Status.REJECTED} <= seen.keys()


def test_the_same_storm_comes_to_the_same(still_market: Market) -> None:
    outcomes = []
    before = still_market.packets.copy()
    for _ in range(2):
        still_market.packets[:] = before
        floor = TradingFloor(still_market, order_seconds=0.1)
        Storm(floor, 7).rage(300)
        outcomes.append([row.data for order in floor.account.orders.values() for row in order.history])
    assert outcomes[0] == outcomes[1]
