"""Several processes that look at the same tables come to the same placement, and share the slots."""

import uuid
from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from accounts.models import KiteApp, TradingAccount
from market.models import Instrument
from streaming import desired
from streaming.feed_account import FeedAccount
from streaming.leases import LeaseTiming
from streaming.models import StreamMember, StreamPart, StreamSlot, Subscription
from streaming.placing import DRAINING, Asker, View, account_of_slot, look
from streaming.shares import SlotRow, shares, to_give_up, to_take

MakeInstrument = Callable[..., Instrument]


class Processes:
    """Stream processes as far as the tables know of them."""

    def __init__(self) -> None:
        self.held: dict[uuid.UUID, frozenset[int]] = {}
        self.parts: dict[uuid.UUID, frozenset[str]] = {}

    def start(self, name: str) -> uuid.UUID:
        owner = uuid.uuid5(uuid.NAMESPACE_OID, name)
        now = timezone.now()
        StreamMember.objects.create(
            owner=owner, name=name, started_at=now, seen_at=now, lease_until=now + timedelta(minutes=1)
        )
        self.held[owner], self.parts[owner] = frozenset(), frozenset()
        return owner

    def look(self, owner: uuid.UUID, capacity: int = 3000, closing: Collection[int] = ()) -> View:
        """And give up what is to be given up."""
        asker = Asker(owner, self.held[owner], frozenset(closing), self.parts[owner], LeaseTiming(), capacity)
        view = look(asker, desired.load())
        assert view is not None
        self.held[owner] |= {slot.pk for slot in view.taken}
        self.parts[owner] = frozenset(part for part, place in view.placement.items() if place.owner == str(owner))
        if view.give_up is not None:
            self.held[owner] -= {view.give_up.pk}
            StreamSlot.objects.filter(pk=view.give_up.pk).update(owner=None)
        return view

    def settle(self, *owners: uuid.UUID, capacity: int = 3000) -> View:
        for _ in range(6):
            for owner in owners:
                view = self.look(owner, capacity)
        return view

    def die(self, owner: uuid.UUID, *, drained: bool) -> None:
        """Its lease is over; the broker may still count its sockets. The database's clock stands still in a test."""
        over, later = (timezone.now() + timedelta(minutes=minutes) for minutes in (-5, 5))
        StreamMember.objects.filter(owner=owner).update(lease_until=over)
        StreamSlot.objects.filter(owner=owner).update(lease_until=over, drained_after=over if drained else later)


@pytest.fixture
def processes(db: None) -> Processes:
    return Processes()


@pytest.fixture
def accounts(asha: User) -> list[TradingAccount]:
    made = []
    for number in range(2):
        app = KiteApp.objects.create(api_key=f"key{number}", label=f"App {number}")
        made.append(TradingAccount.objects.create(kite_user_id=f"AB000{number}", label="Asha", app=app, owner=asha))
    return made


@pytest.fixture
def shares_of(make_instrument: MakeInstrument) -> Callable[..., None]:
    """Subscribe shares: each is an underlying, and so a part, of its own."""

    def subscribe(*names: str, account: TradingAccount | None = None) -> None:
        for name in names:
            token = 1000 + Instrument.objects.count()
            Subscription.objects.create(instrument=make_instrument(token, name), account=account)

    return subscribe


def holders() -> dict[uuid.UUID | None, int]:
    found: dict[uuid.UUID | None, int] = {}
    for owner in StreamSlot.objects.values_list("owner", flat=True):
        found[owner] = found.get(owner, 0) + 1
    return found


def test_one_process_takes_every_slot_and_streams_everything(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY", "TCS")
    one = processes.start("one")
    view = processes.look(one)
    assert len(view.taken) == 6
    assert view.epoch is not None
    assert {place.owner for place in view.placement.values()} == {str(one)}
    again = processes.look(one)
    assert (again.taken, again.epoch, again.placement) == ([], None, view.placement)


def test_a_second_process_is_given_its_share_of_slots_and_of_the_work(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY", "TCS", "RELIANCE", "SBIN")
    one = processes.start("one")
    processes.look(one)
    two = processes.start("two")
    view = processes.settle(one, two)
    assert holders() == {one: 3, two: 3}
    assert [len(processes.parts[owner]) for owner in (one, two)] == [2, 2]
    apps = StreamSlot.objects.order_by().values_list("app", "owner").distinct()
    assert len(apps) == 4, "each of them can carry what is pinned to either account"
    assert processes.settle(two, one).placement == view.placement


def test_who_stands_by_takes_over_what_a_dead_process_streamed_before_its_slots_are_drained(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY", "TCS")
    one, two = processes.start("one"), processes.start("two")
    processes.settle(one, two)
    processes.die(one, drained=False)
    view = processes.look(two)
    assert {place.owner for place in view.placement.values()} == {str(two)}
    assert not any(place.reason for place in view.placement.values())
    assert view.epoch is not None
    assert view.taken == []
    assert 0 < view.again < 400
    processes.die(one, drained=True)
    assert len(processes.look(two).taken) == 3


def test_no_slot_is_given_up_that_is_needed(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of(*(f"SHARE{number}" for number in range(6)))
    accounts[1].state = TradingAccount.State.DISABLED
    accounts[1].save(update_fields=["state"])
    Instrument.objects.update(name="X")
    one, two = processes.start("one"), processes.start("two")
    processes.look(one, capacity=2)
    view = processes.settle(one, two, capacity=2)
    assert not any(place.reason for place in view.placement.values())
    assert sum(holders().values()) == 3


def test_what_its_own_lease_lost_a_process_takes_again_once_the_socket_is_closed(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    one = processes.start("one")
    processes.look(one)
    lost = sorted(processes.held[one])[:2]
    processes.held[one] -= set(lost)
    view = processes.look(one, closing=lost[:1])
    assert [slot.pk for slot in view.taken] == lost[1:]
    assert [slot.epoch for slot in view.taken] == [2]


def test_a_lost_account_keeps_what_is_pinned_to_it_and_the_rest_moves(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY", "TCS", "SBIN", "RELIANCE")
    shares_of("WIPRO", account=accounts[0])
    one = processes.start("one")
    before = processes.look(one).placement
    StreamSlot.objects.filter(app=accounts[0].app).update(is_lost=True)
    after = processes.look(one).placement
    assert after["wipro:underlying"].account == "AB0000"
    assert after["wipro:underlying"].reason == "account AB0000 is not connected"
    assert {after[part].account for part in after if part != "wipro:underlying"} == {"AB0001"}
    assert {before[part].account for part in before} == {"AB0000", "AB0001"}
    StreamSlot.objects.update(is_lost=False)
    back = replace(after["wipro:underlying"], reason="")
    assert processes.look(one).placement == {**after, "wipro:underlying": back}, "coming back moves nothing"


def test_an_account_that_is_disabled_streams_nothing_and_why_stands_in_the_table(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY")
    one = processes.start("one")
    processes.look(one)
    TradingAccount.objects.update(state=TradingAccount.State.DISABLED)
    processes.look(one)
    [row] = StreamPart.objects.all()
    assert (row.owner, row.account, row.reason) == (one, None, "no account is streaming")


def test_while_the_sockets_of_a_killed_process_drain_it_is_said_that_they_do(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY")
    one = processes.start("one")
    processes.look(one)
    processes.die(one, drained=False)
    two = processes.start("two")
    processes.look(two)
    [row] = StreamPart.objects.all()
    assert (row.owner, row.account, row.reason) == (two, None, DRAINING)
    processes.die(one, drained=True)
    view = processes.look(two)
    assert [place.reason for place in view.placement.values()] == [""]


def test_what_was_loaded_before_a_change_places_nothing(
    processes: Processes, accounts: list[TradingAccount], shares_of: Callable[..., None]
) -> None:
    shares_of("INFY")
    one = processes.start("one")
    loaded = desired.load()
    shares_of("TCS")
    asker = Asker(one, frozenset(), frozenset(), frozenset(), LeaseTiming())
    assert look(asker, loaded) is None
    assert not StreamPart.objects.exists()


def test_accounts_that_share_an_app_share_its_sockets() -> None:
    users = [FeedAccount(number, name) for number, name in enumerate("ABCD")]
    assert [account_of_slot(users[:2], number).name for number in range(3)] == ["A", "B", "A"]  # type: ignore[union-attr]
    assert [account_of_slot(users, number).name for number in range(3)] == ["A", "B", "C"]  # type: ignore[union-attr]
    assert account_of_slot([], 0) is None


@given(st.integers(1, 4), st.integers(1, 5), st.randoms(use_true_random=False))
def test_processes_that_take_and_give_up_in_any_order_come_to_their_fair_shares(
    apps: int, living: int, chance: Any
) -> None:
    owners = [uuid.UUID(int=number + 1) for number in range(living)]
    slots = [SlotRow(3 * app + n, app, "", n, "A", None, 0, -1, -1) for app in range(apps) for n in range(3)]
    for slot in list(slots):
        if chance.random() < 0.5:
            slots[slots.index(slot)] = replace(slot, owner=chance.choice(owners), seconds_left=15, drains_in=25)
    for _ in range(40):
        for owner in chance.sample(owners, living):
            for taken in to_take(owner, owners, slots):
                slots[slots.index(taken)] = replace(taken, owner=owner, seconds_left=15, drains_in=25)
            for given_up in to_give_up(owner, owners, slots)[:1]:
                slots[slots.index(given_up)] = replace(given_up, owner=None)
    held = [sum(slot.owner == owner for slot in slots) for owner in owners]
    assert sum(held) == len(slots)
    assert max(held) - min(held) <= 1
    assert sorted(shares(owners, slots).values()) == sorted(held)
