"""When the instruments of an account are to go through others."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from streaming.connection import ConnectionState, Timing
from streaming.feed import Feed, FeedOptions
from streaming.feed_account import FeedAccount
from streaming.inbox import Inbox

WAITING, CONNECTING, OPEN = ConnectionState.WAITING, ConnectionState.CONNECTING, ConnectionState.OPEN
NOBODY = ConnectionState.AWAITING_TOKEN


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def feed_of(
    clock: Clock, *connections: tuple[ConnectionState, float], on_moved: Callable[..., None] = lambda *_: None
) -> Feed:
    """A feed whose sockets are in these states, and dial again in so many seconds."""
    options: dict[str, Any] = {"dial": None, "inbox": Inbox(full_at=1), "counters": Counter(), "timing": Timing()}
    hooks: dict[str, Any] = {"on_data": lambda *_: None, "on_moved": on_moved, "in_session": lambda _: True}
    feed = Feed(
        FeedAccount(1, "AB1234"),
        FeedOptions(**options, **hooks, look_seconds=3, stale_seconds=5, lost_seconds=30),
        clock=clock,
    )
    sockets = [SimpleNamespace(state=state, tries_again_at=clock.now + wait) for state, wait in connections]
    opened = sum(state is OPEN for state, _ in connections)
    feed.pool = SimpleNamespace(connections=sockets, open_connections=opened)  # type: ignore[assignment]
    return feed


@pytest.mark.parametrize(
    ("sockets", "lost"),
    [
        ([(WAITING, 70.0)], True),
        ([(WAITING, 70.0), (NOBODY, 0.0)], True),
        ([(NOBODY, 0.0)], True),
        ([(WAITING, 2.0)], False),
        ([(WAITING, 70.0), (CONNECTING, 0.0)], False),
        ([(WAITING, 70.0), (OPEN, 0.0)], False),
        ([], False),
    ],
    ids=str,
)
def test_an_account_is_lost_at_once_where_no_socket_will_be_open_for_long(
    sockets: list[tuple[ConnectionState, float]], lost: bool
) -> None:
    assert feed_of(Clock(), *sockets).is_lost() is lost


def test_one_whose_sockets_are_dialled_in_vain_is_lost_after_a_while_and_not_once_one_is_open() -> None:
    clock = Clock()
    feed = feed_of(clock, (WAITING, 2.0))
    assert not feed.is_lost()
    clock.now += 31
    assert feed.is_lost()
    feed.pool.open_connections = 1  # type: ignore[misc]
    assert not feed.is_lost()


@pytest.mark.parametrize(("seconds", "moves"), [(70.0, True), (20.0, False)])
def test_what_another_socket_takes_over_from_a_refused_one_is_told_with_its_last_data(
    seconds: float, moves: bool
) -> None:
    told: list[tuple[frozenset[int], float, float]] = []
    clock = Clock()
    feed = feed_of(clock, (WAITING, seconds), (OPEN, 0.0), on_moved=lambda *moved: told.append(moved))
    refused = feed.pool.connections[0]
    refused.last_tick_at = 900.0

    def relieve(waits_long: Callable[[Any], bool]) -> list[tuple[Any, frozenset[int]]]:
        return [(one, frozenset({7, 8})) for one in feed.pool.connections if waits_long(one)]

    feed.pool.relieve = relieve  # type: ignore[method-assign]
    feed.relieve()
    assert [(tokens, since) for tokens, since, _ in told] == ([(frozenset({7, 8}), 900.0)] if moves else [])
