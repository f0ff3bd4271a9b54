"""What was subscribed has to tick, or is asked for again and told of."""

from dataclasses import dataclass, field
from typing import Any

from streaming.confirmations import Confirmations, Unconfirmed
from streaming.connection import ConnectionState
from streaming.wire_requests import Mode


@dataclass(eq=False)
class Connection:
    """As far as confirmations look at one."""

    subscribed_at: dict[int, float]
    name: str = "a"
    state: ConnectionState = ConnectionState.OPEN
    desired: dict[int, Mode] = field(default_factory=lambda: dict.fromkeys((1, 2, 3), Mode.FULL))


class World:
    def __init__(self) -> None:
        self.connection = Connection({1: 100.0, 2: 100.0, 3: 100.0})
        self.ticked_at: dict[int, float] = {}
        self.open = {"NSE", "MCX"}
        self.confirmations = Confirmations(60)

    def look(self, now: float) -> list[int]:
        connection: Any = self.connection
        again = self.confirmations.look(
            [connection],
            ticked_at=self.ticked_at,
            exchange_of={1: "NSE", 2: "NSE", 3: "MCX"},
            is_open=self.open.__contains__,
            now=now,
        )
        for token in (tokens := again.get(connection, [])):
            self.connection.subscribed_at[token] = now
        return tokens


def test_what_ticks_in_time_is_confirmed_and_what_does_not_is_asked_for_again_and_again() -> None:
    world = World()
    assert world.look(100) == []
    world.ticked_at = {1: 101, 3: 99}  # the last one from before it was subscribed here
    assert world.look(161) == [2, 3]
    assert world.confirmations.waiting[2] == Unconfirmed(2, "a", since=100, tries=2)
    world.ticked_at[3] = 162
    assert world.look(170) == []
    assert world.confirmations.waiting.keys() == {2}
    assert world.look(222) == [2]
    assert world.confirmations.waiting[2] == Unconfirmed(2, "a", since=100, tries=3)
    world.ticked_at[2] = 223
    world.look(224)
    assert world.confirmations.waiting == {}


def test_a_market_that_is_closed_is_waited_for() -> None:
    world = World()
    world.open = {"MCX"}
    world.look(100)
    assert world.look(161) == [3]
    world.open = {"NSE", "MCX"}
    world.look(1000)
    world.ticked_at[3] = 1000
    assert world.look(1059) == []
    assert world.look(1061) == [1, 2]


def test_what_is_not_wanted_any_more_or_not_connected_is_not_waited_for() -> None:
    world = World()
    world.look(100)
    del world.connection.desired[1]
    assert world.look(161) == [2, 3]
    world.connection.state = ConnectionState.WAITING
    assert world.look(300) == []
    assert world.confirmations.waiting == {}
