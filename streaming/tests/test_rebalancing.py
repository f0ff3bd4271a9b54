"""Strike rules on real rows: what the stream left in Redis moves them, and nothing else does."""

import threading
import time
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.db import IntegrityError, OperationalError, connection, transaction
from pytest_django import Settings

from accounts import clock
from accounts.models import TradingAccount
from market import calendar
from market.calendar_loading import load_calendar
from market.models import Instrument
from market.names import part_of
from streaming import tasks
from streaming.exceptions import HeldByRule
from streaming.models import Subscription
from streaming.rebalance import Change
from streaming.rebalancing import preview, rebalance, rebalance_all
from streaming.strike_market import look_at
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.strike_rules import change_rule, create_rule, delete_rule
from streaming.subscriptions import fingerprint, follow_chain, streamed_on, subscribe, unsubscribe
from streaming.tests.strikes import NAMES, NEAR, NEXT, Tell, token_of


def new_rule(**changes: Any) -> StrikeRule:
    fields: dict[str, Any] = {"width": Decimal(1), "expiries": 1} | changes
    return create_rule(underlying="nifty 50", **fields)


def streamed_strikes(**fields: Any) -> set[int]:
    held = Subscription.objects.active().filter(instrument__strike__gt=0, **fields)
    return {int(strike) for strike in held.values_list("instrument__strike", flat=True)}


def of(strike: int, kind: str) -> Subscription:
    return Subscription.objects.get(instrument__instrument_token=token_of(strike, kind))


def said(rule: StrikeRule) -> str:
    rule.refresh_from_db()
    return rule.last_outcome


pytestmark = pytest.mark.usefixtures("listed")

# --- moving -----------------------------------------------------------------------------------------------------------


def test_a_rule_streams_the_strikes_around_the_money_and_follows_it(market_says: Tell) -> None:
    rule = new_rule()
    market_says(24_512)
    rebalance(rule.pk)
    assert streamed_strikes(rule=rule) == {24_450, 24_500, 24_550}
    market_says(24_549)
    rebalance(rule.pk)
    assert streamed_strikes() == {24_450, 24_500, 24_550}, "within the hysteresis"
    market_says(24_610)
    rebalance(rule.pk)
    assert streamed_strikes() == {24_550, 24_600, 24_650}
    moves = StrikeMove.objects.filter(instrument__strike=24_650)
    assert {(move.action, move.reason, move.spot) for move in moves} == {
        ("added", "1 strike from 24600: within ±1 strikes", Decimal(24_610))
    }
    assert StrikeMove.objects.filter(action="removed").count() == 4


def test_a_second_look_at_once_moves_nothing_and_writes_nothing_down(market_says: Tell) -> None:
    rule = new_rule(expiries=2, width=Decimal(3))
    market_says(24_512)
    rebalance(rule.pk)
    seen, moved = fingerprint(), StrikeMove.objects.count()
    outcome = rebalance(rule.pk)
    assert outcome is not None
    assert outcome.moves == []
    assert (fingerprint(), StrikeMove.objects.count()) == (seen, moved)
    assert said(rule) == "nothing to move; around 24500 (01 Dec), 24500 (08 Dec) at 24512"


def test_before_any_strike_is_streamed_the_underlying_already_is_because_the_rule_waits_for_its_price() -> None:
    before = fingerprint()
    rule = new_rule()
    assert fingerprint() != before
    assert {one.tradingsymbol for one in streamed_on(clock.today())} == {"NIFTY 50", "NIFTY26DECFUT"}
    change_rule(rule.pk, {"enabled": False})
    assert streamed_on(clock.today()) == []


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"feed_state": "stale"}, "not current"),
        ({"sent_at": time.time() - 3_600}, "not current"),
        ({"flags": 1}, "not current"),
        ({"age_ms": 90_000}, "not current"),
        ({"spot": None}, "not known"),
    ],
    ids=["stale feed", "old line", "flagged", "old price", "no price"],
)
def test_on_a_price_that_is_not_to_be_believed_nothing_moves(market_says: Tell, line: dict[str, Any], why: str) -> None:
    rule = new_rule()
    market_says(24_500)
    rebalance(rule.pk)
    market_says(**{"spot": 25_500} | line)
    rebalance(rule.pk)
    assert streamed_strikes() == {24_450, 24_500, 24_550}
    assert said(rule) == f"nothing was moved: the price of NSE:NIFTY 50 is {why}"


def test_without_redis_and_without_options_the_rule_says_so(valkey: "redis.Redis", settings: Settings) -> None:
    rule = new_rule()
    rebalance(rule.pk)
    assert said(rule) == "nothing was moved: the price of NSE:NIFTY 50 is not known"
    Instrument.objects.options("NIFTY").update(is_active=False)
    rebalance(rule.pk)
    assert said(rule) == "nothing was moved: no options on NIFTY are listed at NFO"


def test_the_centre_goes_by_the_forward_of_the_expiry_and_keeps_it_when_the_books_are_empty(
    market_says: Tell, options_say: Tell, valkey: "redis.Redis"
) -> None:
    rule = new_rule(expiries=2, width=Decimal(0))
    market_says(24_500)
    options_say(forward=24_745.0)
    rebalance(rule.pk)
    assert streamed_strikes(instrument__expiry=NEAR) == {24_750}
    assert streamed_strikes(instrument__expiry=NEXT) == {24_500}, "whose forward is not known"
    options_say(forward=24_500.0, source="spot")
    rebalance(rule.pk)
    valkey.delete(NAMES.blob(part_of("NIFTY", NEAR)))
    rebalance(rule.pk)
    assert streamed_strikes(instrument__expiry=NEAR) == {24_750}


def test_a_rule_by_delta_takes_the_streams_own_deltas(market_says: Tell, options_say: Tell) -> None:
    rule = new_rule(width_kind="delta", width=Decimal("0.30"))
    market_says(24_500)
    rebalance(rule.pk)
    assert streamed_strikes() == set(range(24_250, 24_800, 50))
    calls = {token_of(k, "CE"): 0.5 - (k - 24_500) / 500 for k in range(24_500, 24_800, 50)}
    puts = {token_of(k, "PE"): -0.5 + (24_500 - k) / 500 for k in range(24_250, 24_550, 50)}
    options_say(forward=24_500.0, deltas=calls | puts)
    rebalance(rule.pk)
    # Calls of 0.30 up to 24,600 and one more; one beyond that is held as long as it is there.
    assert streamed_strikes() == set(range(24_300, 24_750, 50))


def test_modes_go_down_with_the_distance(market_says: Tell) -> None:
    rule = new_rule(width=Decimal(3), full_within=1, quote_within=2)
    market_says(24_500)
    rebalance(rule.pk)
    assert [of(strike, "CE").requested_mode for strike in (24_500, 24_550, 24_600, 24_650)] == [
        "full", "full", "quote", "ltp",
    ]  # fmt: skip
    market_says(24_600)
    rebalance(rule.pk)
    assert of(24_600, "CE").requested_mode == "full"
    assert set(StrikeMove.objects.filter(instrument__strike=24_600).values_list("action", "mode")) == {
        ("added", "quote"), ("promoted", "full"),
    }  # fmt: skip


# --- what others asked for --------------------------------------------------------------------------------------------


def test_what_somebody_asked_for_is_neither_changed_nor_given_up(market_says: Tell) -> None:
    subscribe(instrument_token=token_of(24_500, "CE"), requested_mode="ltp")
    subscribe(instrument_token=token_of(26_000, "PE"), requested_mode="quote")
    rule = new_rule()
    for spot in (24_500, 25_000, 24_500):
        market_says(spot)
        rebalance(rule.pk)
    assert (of(24_500, "CE").requested_mode, of(24_500, "CE").rule_id) == ("ltp", None)
    assert (of(26_000, "PE").requested_mode, of(26_000, "PE").status) == ("quote", "active")
    assert of(24_500, "PE").rule_id == rule.pk
    assert not StrikeMove.objects.filter(instrument__instrument_token=token_of(24_500, "CE")).exists()


@pytest.mark.parametrize("how", ["subscribe", "follow"])
def test_who_asks_for_a_rules_strike_takes_it_over(market_says: Tell, how: str) -> None:
    rule = new_rule(mode="ltp")
    market_says(24_500)
    rebalance(rule.pk)
    if how == "subscribe":
        subscribe(instrument_token=token_of(24_500, "CE"))
    else:
        follow_chain("NIFTY", expiries=1, today=clock.today())
    market_says(25_500)
    rebalance(rule.pk)
    taken = of(24_500, "CE")
    assert (taken.status, taken.rule_id, taken.requested_mode) == ("active", None, "full")
    change_rule(rule.pk, {"enabled": False})
    assert of(24_500, "CE").status == "active"


def test_a_rules_strike_cannot_be_unsubscribed_and_a_persons_becomes_the_rules(market_says: Tell) -> None:
    rule = new_rule()
    subscribe(instrument_token=token_of(24_500, "CE"))
    market_says(24_500)
    rebalance(rule.pk)
    with pytest.raises(HeldByRule):
        unsubscribe(instrument_token=token_of(24_500, "PE"))
    unsubscribe(instrument_token=token_of(24_500, "CE"))
    rebalance(rule.pk)
    assert of(24_500, "CE").rule_id == rule.pk


def test_the_table_itself_refuses_a_rule_that_holds_what_is_not_streamed(market_says: Tell) -> None:
    rule = new_rule()
    market_says(24_500)
    rebalance(rule.pk)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(rule=rule).update(status="inactive")


# --- slots, accounts, the end -----------------------------------------------------------------------------------------


def test_when_slots_are_short_the_farthest_strikes_go_first(market_says: Tell) -> None:
    rule = new_rule(width=Decimal(3), expiries=2)
    market_says(24_500)
    rebalance(rule.pk)
    assert Subscription.objects.filter(rule=rule).count() == 28
    change_rule(rule.pk, {"most_instruments": 12})
    outcome = rebalance(rule.pk)
    assert outcome is not None
    assert outcome.left_out == 16
    assert streamed_strikes() == {24_450, 24_500, 24_550}
    assert said(rule).endswith("16 instruments have no slot")


def test_without_an_account_that_feeds_there_is_no_slot(market_says: Tell) -> None:
    rule = new_rule()
    market_says(24_500)
    TradingAccount.objects.update(is_data=False)
    outcome = rebalance(rule.pk)
    assert outcome is not None
    assert (outcome.moves, outcome.left_out) == ([], 6)


def test_a_rules_account_is_its_strikes_account(market_says: Tell, account: TradingAccount) -> None:
    rule = new_rule(account=account)
    market_says(24_500)
    rebalance(rule.pk)
    assert of(24_500, "CE").account == account
    change_rule(rule.pk, {"account": None})
    rebalance(rule.pk)
    assert of(24_500, "CE").account is None


@pytest.mark.parametrize("how", ["switched off", "deleted"])
def test_a_rule_that_ends_gives_up_what_it_alone_held_and_the_ledger_stays(market_says: Tell, how: str) -> None:
    rule = new_rule()
    subscribe(instrument_token=token_of(24_500, "CE"))
    market_says(24_500)
    rebalance(rule.pk)
    change_rule(rule.pk, {"enabled": False}) if how == "switched off" else delete_rule(rule)
    assert list(Subscription.objects.active()) == [of(24_500, "CE")]
    removed = StrikeMove.objects.filter(action=Change.REMOVED.value)
    assert {move.reason for move in removed} == {f"the rule was {how}"}
    assert removed.count() == 5
    assert rebalance(rule.pk or 0) is None


def test_an_expiry_that_is_over_is_given_up(market_says: Tell, settings: Settings) -> None:
    rule = new_rule(width=Decimal(0))
    market_says(24_500)
    rebalance(rule.pk)
    settings.MARKET_CLOCK = f"{NEAR + timedelta(days=1)}T10:00:00+05:30"
    rebalance(rule.pk)
    assert streamed_strikes(instrument__expiry=NEXT) == {24_500}
    assert not streamed_strikes(instrument__expiry=NEAR)


# --- turns ------------------------------------------------------------------------------------------------------------


def test_rules_are_looked_at_while_their_market_is_open_only(market_says: Tell, settings: Settings) -> None:
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    calendar.forget()
    rule = new_rule()
    market_says(24_500)
    settings.MARKET_CLOCK = "2026-11-25T08:59:00+05:30"
    tasks.rebalance_strikes()
    assert (said(rule), streamed_strikes()) == ("", set())
    settings.MARKET_CLOCK = "2026-11-25T10:00:00+05:30"
    tasks.rebalance_strikes()
    assert streamed_strikes() == {24_450, 24_500, 24_550}


def test_what_the_calendar_does_not_know_counts_as_open(market_says: Tell) -> None:
    new_rule()
    market_says(24_500)
    rebalance_all()
    assert streamed_strikes() == {24_450, 24_500, 24_550}


@pytest.mark.parametrize("error", [OperationalError("lock timeout"), ValueError("a mistake")])
def test_a_rule_that_fails_does_not_keep_the_others_from_their_turn(
    market_says: Tell, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    StrikeRule.objects.create(underlying="BANKNIFTY", width=Decimal(1))  # the first in order
    new_rule()
    market_says(24_500)

    def fails_for_one(rule: StrikeRule) -> Any:
        if rule.underlying == "BANKNIFTY":
            raise error
        return look_at(rule)

    monkeypatch.setattr("streaming.rebalancing.look_at", fails_for_one)
    rebalance_all()
    assert streamed_strikes() == {24_450, 24_500, 24_550}


def test_a_preview_says_what_would_be_done_and_does_nothing(market_says: Tell) -> None:
    rule = new_rule(enabled=False)
    market_says(24_500)
    outcome = preview(rule)
    assert outcome.words == "6 added; around 24500 (01 Dec) at 24500"
    assert {int(one.strike) for one in outcome.instruments.values()} == {24_450, 24_500, 24_550}
    assert not Subscription.objects.exists()
    market_says(None)
    assert preview(rule).words == "nothing would be moved: the price of NSE:NIFTY 50 is not known"


def test_old_moves_are_forgotten(market_says: Tell, settings: Settings) -> None:
    rule = new_rule()
    market_says(24_500)
    rebalance(rule.pk)
    settings.STRIKE_MOVE_DAYS = 30
    StrikeMove.objects.filter(instrument__instrument_type="CE").update(at=clock.now() - timedelta(days=31))
    tasks.forget_old_strike_moves()
    assert set(StrikeMove.objects.values_list("instrument__instrument_type", flat=True)) == {"PE"}


@pytest.mark.django_db(transaction=True)
def test_two_processes_do_not_work_on_one_rule(market_says: Tell) -> None:
    rule = new_rule()
    market_says(24_500)
    answers: list[object] = []

    def other() -> None:
        try:
            answers.append(rebalance(rule.pk))
        finally:
            connection.close()

    with transaction.atomic():
        StrikeRule.objects.select_for_update().get(pk=rule.pk)
        thread = threading.Thread(target=other)
        thread.start()
        thread.join(timeout=10)
    assert answers == [None]
