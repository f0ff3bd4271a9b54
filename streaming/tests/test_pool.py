"""Up to three sockets of one account."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from streaming.connection import ConnectionState, DialGuard, TickerConnection, Timing, kite_dial
from streaming.inbox import Inbox
from streaming.leases import HeldSlot
from streaming.pool import ConnectionPool, spread
from streaming.tests.fake_broker import HEARTBEAT, QUICK, FakeBroker, FixedTokens, running, standing_slot, until
from streaming.wire_requests import Mode


def pool_of(broker: FakeBroker, *, size: int = 3000, slots: int = 3, timing: Timing = QUICK) -> ConnectionPool:
    tokens, guard, inbox = FixedTokens(), DialGuard(limit=1000), Inbox()

    def make(slot: HeldSlot) -> TickerConnection:
        return TickerConnection(
            f"AB1234 socket {slot.number + 1}",
            dial=kite_dial(broker.root, timing),
            tokens=tokens,
            inbox=inbox,
            on_text=lambda text: None,
            guard=guard,
            slot=slot,
            timing=timing,
        )

    pool = ConnectionPool("AB1234", make, size=size)
    pool.hold([standing_slot(number) for number in range(slots)])
    return pool


def full(tokens: range) -> dict[int, Mode]:
    return dict.fromkeys(tokens, Mode.FULL)


async def test_the_3001st_instrument_opens_a_second_socket() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker)
        pool.want(full(range(1, 3001)))
        async with running(pool.run()):
            await until(lambda: len(broker.modes) == 3000)
            assert len(broker.connections) == 1
            pool.want(full(range(1, 3002)))
            await until(lambda: len(broker.modes) == 3001)
            assert sorted(len(modes) for modes in broker.subscribed.values()) == [1, 3000]


async def test_what_does_not_fit_is_said_and_the_rest_is_streamed() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker, size=2)
        pool.want(full(range(1, 9)))
        async with running(pool.run()):
            await until(lambda: len(broker.modes) == 6)
    assert len(broker.handshakes) == 3
    assert pool.overflow == [7, 8]


async def test_the_account_is_only_as_well_as_its_worst_socket() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker, size=1)
        pool.want(full(range(1, 3)))
        assert pool.status == "idle"
        async with running(pool.run()):
            await until(lambda: len(broker.connections) == 2)
            await broker.connections[0].send(HEARTBEAT)
            await until(lambda: pool.open_connections == 1)
            assert pool.status == "connecting"
            await broker.connections[1].send(HEARTBEAT)
            await until(lambda: pool.status == "open")
        assert all(connection.state is ConnectionState.CLOSED for connection in pool.connections)


async def test_a_slot_that_goes_takes_its_socket_along_and_the_others_carry_its_instruments() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker, size=3, slots=0)
        first, second = standing_slot(0), standing_slot(1)
        pool.hold([first, second])
        pool.want(full(range(1, 5)))
        async with running(pool.run()):
            await until(lambda: len(broker.modes) == 4)
            pool.hold([second])
            await pool.closed(first)
            assert not first.is_dialled
            await until(lambda: broker.modes.keys() == {4, 1, 2})
            assert (len(broker.connections), len(pool.overflow)) == (1, 1)
            pool.hold([second, standing_slot(2)])
            await until(lambda: len(broker.modes) == 4)


async def test_an_accounts_first_socket_is_open_without_instruments_and_no_other() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker, slots=0)
        pool.hold([standing_slot(0), standing_slot(1)], always=[0])
        async with running(pool.run()):
            await until(lambda: broker.connections)
            assert [one.name for one in pool.connections] == ["AB1234 socket 1"]


def waits(connection: TickerConnection) -> bool:
    return connection.state is ConnectionState.WAITING


async def test_sockets_with_room_carry_what_is_on_one_that_the_broker_refused_and_go_on_with_it() -> None:
    async with FakeBroker().running() as broker:
        pool = pool_of(broker, size=4, slots=2, timing=replace(QUICK, refused=0.5, silence=30))
        pool.want(full(range(1, 7)))  # four on one socket, two on the other
        broker.refuse_next = [429]
        async with running(pool.run()):
            await until(lambda: any(map(waits, pool.connections)) and len(broker.connections) == 1)
            assert pool.relieve(lambda _: False) == []
            [refused] = filter(waits, pool.connections)
            before = set(refused.desired)
            [(connection, moved)] = pool.relieve(waits)
            assert connection is refused
            assert moved == before - refused.desired.keys()
            assert len(moved) == 6 - len(before) or moved == before, "as many as the other one has room for"
            await until(lambda: broker.modes.keys() == {1, 2, 3, 4, 5, 6} - refused.desired.keys())
            assert pool.relieve(waits) == [], "it is said once"
            pool.want(full(range(1, 9)))
            assert {7, 8} <= refused.desired.keys(), "what has no other place waits there"
            await until(lambda: broker.modes.keys() == set(range(1, 9)), 5)
            assert pool.relieve(waits) == [], "nothing moves back"
    assert len(broker.handshakes) == 3


Tokens = st.sets(st.integers(1, 40), max_size=20)


@given(before=Tokens, after=Tokens, size=st.integers(1, 6), most=st.integers(1, 4), waiting=st.sets(st.integers(0, 3)))
def test_others_take_over_what_they_have_room_for_and_the_rest_stays(
    before: set[int], after: set[int], size: int, most: int, waiting: set[int]
) -> None:
    first, _ = spread(dict.fromkeys(sorted(before), Mode.FULL), [], size=size, most=most)
    held = [set(carried) for carried in first]
    shunned = sorted(waiting & set(range(most)))
    second, left = spread(dict.fromkeys(sorted(after), Mode.LTP), held, size=size, most=most, waiting=shunned)

    carried = [token for connection in second for token in connection]
    assert len(carried) == len(set(carried)) == min(len(after), size * most)
    assert set(carried) | set(left) == after
    assert all(len(connection) <= size for connection in second)
    others = [number for number in range(most) if number not in shunned]
    for number in others:
        assert held[number] & after <= second[number].keys(), "who is open keeps what it has"
    if any(second[number] for number in shunned):
        assert all(len(second[number]) == size for number in others), "nothing waits where another has room"


@given(before=Tokens, after=Tokens, size=st.integers(1, 6), most=st.integers(1, 4))
def test_tokens_keep_their_socket_and_none_is_on_two(before: set[int], after: set[int], size: int, most: int) -> None:
    first, _ = spread(dict.fromkeys(sorted(before), Mode.FULL), [], size=size, most=most)
    held = [set(carried) for carried in first]
    second, left = spread(dict.fromkeys(sorted(after), Mode.LTP), held, size=size, most=most)

    carried = [token for connection in second for token in connection]
    assert len(carried) == len(set(carried)) == min(len(after), size * most)
    assert set(carried) | set(left) == after
    assert len(second) <= most
    assert all(len(connection) <= size for connection in second)
    for now, earlier in zip(second, held, strict=False):
        assert earlier & after <= now.keys()
