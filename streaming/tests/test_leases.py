"""The right to open one of the broker's sockets: held by leases, and over before anybody else has it."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models.functions import Now

from accounts.models import KiteApp, TradingAccount
from streaming.exceptions import SlotLost
from streaming.leases import HeldSlot, LeaseTiming, SlotLeases, connection_parameters
from streaming.models import StreamMember, StreamSlot
from streaming.tests.fake_broker import running, until
from streaming.tests.proxy import Proxy

SHORT = LeaseTiming(lease=3, drain=4, renew=0.2, fence=2, again=0.05, answer=1)


class Clock:
    """A monotonic clock that shows what it is set to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def slot_of(clock: Clock, fence: float = 10.0) -> HeldSlot:
    return HeldSlot(1, app_id=1, number=0, epoch=1, renewed_at=clock.now, fence=fence, clock=clock)


def test_a_slot_that_is_not_renewed_is_over_by_the_monotonic_clock_and_never_lives_again() -> None:
    clock = Clock()
    slot = slot_of(clock)
    with slot.dialled():
        clock.now += 9
        slot.renewed(clock.now - 1)
        clock.now += 8
        slot.check()
        clock.now += 1
        with pytest.raises(SlotLost):
            slot.check()
        slot.renewed(clock.now)
        assert not slot.is_live
    with pytest.raises(SlotLost), slot.dialled():
        pass


def test_a_slot_is_for_one_socket_at_a_time() -> None:
    slot = slot_of(Clock())
    with slot.dialled(), pytest.raises(RuntimeError, match="one socket"), slot.dialled():
        pass
    with slot.dialled():
        pass


def test_a_drain_is_longer_than_its_lease() -> None:
    assert LeaseTiming.of(15, 25) == LeaseTiming()
    with pytest.raises(ValueError, match="must drain for longer"):
        LeaseTiming.of(15, 15)


@pytest.fixture
def database(transactional_db: None) -> dict[str, Any]:
    return {**settings.DATABASES["default"], "NAME": connection.settings_dict["NAME"]}


@pytest.fixture
def rows(database: dict[str, Any]) -> Iterator[list[int]]:
    """Three slots of an app."""
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    owner = User.objects.create_user("asha")
    TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner)
    made = [StreamSlot.objects.create(app=app, number=number).pk for number in range(3)]
    yield made
    connection.close()


async def acquire(leases: SlotLeases, pk: int) -> HeldSlot | None:
    """As `placing` takes one."""
    parameters = {"owner": leases.owner, "id": pk, "lease": leases.timing.lease, "drain": leases.timing.drain}
    sent_at = leases.clock()
    async with await psycopg.AsyncConnection.connect(**connection_parameters(dict(leases.database))) as own:
        cursor = await own.execute(
            "update streaming_streamslot set owner = %(owner)s, epoch = epoch + 1,"
            " lease_until = now() + %(lease)s * interval '1 s', drained_after = now() + %(drain)s * interval '1 s'"
            " where id = %(id)s and (owner is null or owner = %(owner)s"
            " or (lease_until < now() and drained_after < now())) returning epoch",
            parameters,
        )
        row = await cursor.fetchone()
    return leases.take(pk, app_id=1, number=pk % 3, epoch=row[0], sent_at=sent_at) if row else None


async def test_a_lease_that_is_renewed_goes_on_and_one_that_is_not_is_free_after_its_drain(
    database: dict[str, Any], rows: list[int]
) -> None:
    first, second = SlotLeases(database, "first", SHORT), SlotLeases(database, "second", SHORT)
    slot = await acquire(first, rows[0])
    assert slot is not None
    async with running(first.run()):
        await asyncio.sleep(1.2 * SHORT.drain)
        assert first.held[rows[0]].is_live
        assert await acquire(second, rows[0]) is None
    began = asyncio.get_running_loop().time()
    while (taken := await acquire(second, rows[0])) is None:  # noqa: ASYNC110 - what is waited for has no event
        await asyncio.sleep(0.02)
    assert asyncio.get_running_loop().time() - began > SHORT.drain - 1.5
    assert not slot.is_live
    assert taken.epoch == slot.epoch + 1
    await first.renew()
    assert first.held == {}, "it has been another's: renewing it does not bring it back"
    await first.leave()
    await second.leave()


async def test_a_slot_that_is_given_back_is_free_at_once_and_who_leaves_is_no_member_any_more(
    database: dict[str, Any], rows: list[int]
) -> None:
    first, second = SlotLeases(database, "first", SHORT), SlotLeases(database, "second", SHORT)
    slot = await acquire(first, rows[0])
    assert slot is not None
    assert await first.renew()
    with slot.dialled(), pytest.raises(RuntimeError, match="after its socket is closed"):
        await first.release(slot)
    assert await asyncio.to_thread(members) == ["first"]
    await first.leave()
    assert await acquire(second, rows[0])
    assert await asyncio.to_thread(members) == []
    await second.leave()


def members() -> list[str]:
    try:
        return list(StreamMember.objects.filter(lease_until__gt=Now()).values_list("name", flat=True))
    finally:
        connection.close()


@pytest.mark.parametrize("is_single", [False, True])
async def test_without_the_database_a_slot_is_lost_at_the_fence_unless_there_is_one_process_only(
    database: dict[str, Any], rows: list[int], is_single: bool
) -> None:
    async with Proxy(f"redis://{database['HOST'] or '127.0.0.1'}:{database['PORT']}").running() as proxy:
        port = int(proxy.url.rpartition(":")[2].partition("/")[0])
        leases = SlotLeases({**database, "HOST": "127.0.0.1", "PORT": port}, "first", SHORT, is_single=is_single)
        lost: list[float] = []
        loop = asyncio.get_running_loop()
        leases.when_changed(lambda: lost.append(loop.time()))
        slot = await acquire(leases, rows[0])
        assert slot is not None
        async with running(leases.run()):
            await asyncio.sleep(3 * SHORT.renew)
            await proxy.cut()
            began = loop.time()
            if is_single:
                await asyncio.sleep(1.2 * SHORT.lease)
                assert slot.is_live
            else:
                await until(lambda: lost)
                assert 1 < lost[0] - began < SHORT.lease
                assert not slot.is_live
            await proxy.restore()
            await until(lambda: not leases._is_away)
            assert bool(leases.held) is is_single
        await leases.leave()


async def test_a_database_that_hangs_is_one_that_is_away(database: dict[str, Any], rows: list[int]) -> None:
    leases = SlotLeases(database, "first", SHORT)
    slot = await acquire(leases, rows[0])
    assert slot is not None
    async with await psycopg.AsyncConnection.connect(
        **connection_parameters(database) | {"autocommit": False}
    ) as other:
        await other.execute("lock table streaming_streamslot in access exclusive mode")
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert not await leases.renew()
        assert loop.time() - began < SHORT.answer + 1.5
    assert await leases.renew()
    await leases.leave()


@pytest.mark.parametrize("seed", range(2))
async def test_however_processes_come_stall_and_go_a_slot_has_one_live_holder(
    database: dict[str, Any], rows: list[int], seed: int
) -> None:
    """What each of them believes itself, sampled often, while some stop renewing."""
    chance = random.Random(seed)
    timing = LeaseTiming(lease=0.3, drain=0.5, renew=0.1, fence=0.2, again=0.02, answer=0.2)
    most, takeovers = 0, 0
    living = [SlotLeases(database, str(number), timing) for number in range(3)]
    everybody = list(living)
    loop = asyncio.get_running_loop()
    end = loop.time() + 4
    while loop.time() < end:
        for leases in living:
            for pk in rows:
                if pk not in leases.held and chance.random() < 0.3 and await acquire(leases, pk):
                    takeovers += 1
            if chance.random() < 0.7:
                await leases.renew()
        if chance.random() < 0.2:
            living.pop(chance.randrange(len(living)))  # killed: what it holds runs out
            living.append(SlotLeases(database, "new", timing))
            everybody.append(living[-1])
        for pk in rows:
            most = max(most, sum(pk in one.held and one.held[pk].is_live for one in everybody))
        await asyncio.sleep(0.01)
    for leases in everybody:
        await leases.leave()
    assert most == 1
    assert takeovers > 5
