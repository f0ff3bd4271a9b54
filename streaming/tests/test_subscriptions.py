"""What is streamed: asked for, derived, and changed through REST, the command and the admin."""

import json
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client

from accounts import clock
from accounts.models import TradingAccount
from market.models import Instrument
from streaming.exceptions import CapacityExceeded
from streaming.models import StreamPart, Subscription
from streaming.subscriptions import (
    fingerprint,
    follow_chain,
    part_of_instrument,
    streamed_on,
    subscribe,
    unsubscribe,
)
from streaming.tests.conftest import MakeInstrument
from streaming.wire_requests import Mode

URL = "/api/v1/subscriptions"
FIELDS = {
    "instrument_token", "exchange", "tradingsymbol", "segment", "status", "requested_mode", "account_id", "derived",
    "rule_id", "not_streamed_because", "created_at", "updated_at",
}  # fmt: skip


def post(client: Client, **body: Any) -> Any:
    return client.post(URL, body, content_type="application/json")


def code_of(response: Any) -> str:
    return str(response.json()["error"]["code"])


# --- services -------------------------------------------------------------------------------------------------------


def test_the_underlying_of_a_subscribed_option_is_streamed_too_and_marked(chain: dict[str, int]) -> None:
    subscribe(instrument_token=chain["NIFTYNEAR25000CE"], requested_mode="quote")
    streamed = {one.tradingsymbol: one for one in streamed_on(clock.today())}
    assert streamed.keys() == {"NIFTYNEAR25000CE", "NIFTY 50", "NIFTYNEXTFUT"}
    assert {one.tradingsymbol for one in streamed.values() if one.derived} == {"NIFTY 50", "NIFTYNEXTFUT"}
    assert streamed["NIFTYNEAR25000CE"].mode is Mode.QUOTE
    assert {one.part.partition(":")[0] for one in streamed.values()} == {"nifty"}


def test_an_underlying_that_was_asked_for_is_not_derived(chain: dict[str, int]) -> None:
    subscribe(instrument_token=chain["NIFTYNEAR25000CE"])
    subscribe(instrument_token=chain["NIFTY 50"], requested_mode="ltp")
    [index] = [one for one in streamed_on(clock.today()) if one.tradingsymbol == "NIFTY 50"]
    assert (index.derived, index.mode) == (False, Mode.LTP)


def test_expired_and_delisted_instruments_are_not_streamed(chain: dict[str, int]) -> None:
    follow_chain("NIFTY", expiries=3, today=clock.today())
    Instrument.objects.filter(tradingsymbol="NIFTYNEAR25000CE").update(expiry="2026-01-01")
    Instrument.objects.filter(tradingsymbol="NIFTYNEAR25000PE").update(is_active=False)
    symbols = {one.tradingsymbol for one in streamed_on(clock.today())}
    assert "NIFTYNEAR24900CE" in symbols
    assert symbols.isdisjoint({"NIFTYNEAR25000CE", "NIFTYNEAR25000PE"})


def test_no_subscription_means_nothing_to_stream(db: None) -> None:
    assert streamed_on(clock.today()) == []


def test_a_stock_has_a_part_of_its_own(make_instrument: MakeInstrument) -> None:
    make_instrument(408065, "INFY", name="INFOSYS")
    subscribe(instrument_token=408065)
    assert [one.part for one in streamed_on(clock.today())] == ["infy:underlying"]


def test_every_change_shows_in_the_fingerprint(chain: dict[str, int]) -> None:
    seen = [fingerprint()]
    subscribe(instrument_token=256265)
    seen.append(fingerprint())
    subscribe(instrument_token=256265, requested_mode="ltp")
    seen.append(fingerprint())
    unsubscribe(instrument_token=256265)
    seen.append(fingerprint())
    subscribe(instrument_token=256265)
    Instrument.objects.update(is_active=False)
    seen.append(fingerprint())
    assert len(set(seen)) == len(seen)


def test_a_recycled_token_means_its_present_bearer(make_instrument: MakeInstrument) -> None:
    make_instrument(5, "OLD", is_active=False)
    make_instrument(5, "NEW")
    subscription, _ = subscribe(instrument_token=5)
    assert subscription.instrument.tradingsymbol == "NEW"


@pytest.mark.parametrize("field", ["requested_mode", "status"])
def test_the_table_itself_refuses_words_it_does_not_know(chain: dict[str, int], field: str) -> None:
    subscription, _ = subscribe(instrument_token=256265)
    with pytest.raises(IntegrityError), transaction.atomic():
        Subscription.objects.filter(pk=subscription.pk).update(**{field: "x"})


# --- the command ------------------------------------------------------------------------------------------------------


def test_following_a_chain_subscribes_every_strike_of_the_nearest_expiries_and_repeats_safely(
    chain: dict[str, int],
) -> None:
    for _ in range(2):
        call_command("follow_chains", "nifty 50", "--expiries", "2", stdout=StringIO())
        symbols = set(Subscription.objects.active().values_list("instrument__tradingsymbol", flat=True))
        assert symbols == {name for name in chain if name.startswith(("NIFTYNEAR", "NIFTYNEXT")) and name[-1] == "E"}


def test_following_a_chain_again_keeps_what_a_person_chose(chain: dict[str, int]) -> None:
    subscribe(instrument_token=chain["NIFTYNEAR25000CE"], requested_mode="ltp")
    follow_chain("NIFTY", expiries=1, today=clock.today())
    assert Subscription.objects.get(instrument__tradingsymbol="NIFTYNEAR25000CE").requested_mode == "ltp"


def test_a_chain_that_does_not_exist_is_said(db: None) -> None:
    with pytest.raises(CommandError, match="NOSUCH has no living option contracts"):
        call_command("follow_chains", "NOSUCH")


# --- REST -----------------------------------------------------------------------------------------------------------


def test_a_subscription_is_made_changed_ended_and_revived(streamer: Client, chain: dict[str, int]) -> None:
    token = chain["NIFTYNEAR25000CE"]
    made = post(streamer, instrument_token=token)
    assert made.status_code == 201
    assert made.json().keys() == FIELDS
    assert (made.json()["requested_mode"], made.json()["status"]) == ("full", "active")

    changed = post(streamer, instrument_token=token, requested_mode="ltp")
    assert (changed.status_code, changed.json()["requested_mode"]) == (200, "ltp")
    assert streamer.delete(f"{URL}/{token}").status_code == 204
    assert streamer.delete(f"{URL}/{token}").status_code == 404
    assert Subscription.objects.get().status == "inactive"
    assert post(streamer, instrument_token=token).status_code == 201


def test_an_account_can_be_pinned_by_who_may_stream_through_it(
    streamer: Client, account: TradingAccount, chain: dict[str, int]
) -> None:
    made = post(streamer, instrument_token=256265, account_id=str(account.public_id))
    assert made.json()["account_id"] == str(account.public_id)
    refused = post(streamer, instrument_token=256265, account_id="00000000-0000-4000-8000-000000000000")
    assert refused.status_code == 404


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"instrument_token": 999}, 404),
        ({"instrument_token": 0}, 400),
        ({"instrument_token": "x"}, 400),
        ({"instrument_token": 2**32}, 400),
        ({"instrument_token": 256265, "requested_mode": "depth"}, 400),
        ({"instrument_token": 256265, "mode": "full"}, 400),
        ({}, 400),
    ],
)
def test_what_cannot_be_subscribed_is_refused(
    streamer: Client, chain: dict[str, int], body: dict[str, Any], status: int
) -> None:
    response = post(streamer, **body)
    assert response.status_code == status
    assert code_of(response) == ("unknown_instrument" if status == 404 else "invalid_input")
    assert not Subscription.objects.exists()


def test_an_instrument_that_is_gone_cannot_be_subscribed(streamer: Client, chain: dict[str, int]) -> None:
    Instrument.objects.update(is_active=False)
    assert post(streamer, instrument_token=256265).status_code == 404


def test_the_list_is_paged_and_filtered(reader: Client, chain: dict[str, int]) -> None:
    follow_chain("NIFTY", expiries=2, today=clock.today())
    unsubscribe(instrument_token=chain["NIFTYNEAR25000CE"])
    page = reader.get(f"{URL}?status=active&limit=3&offset=6").json()
    assert (page["total"], page["limit"], page["offset"], page["has_more"], len(page["items"])) == (7, 3, 6, False, 1)
    assert [item["tradingsymbol"] for item in reader.get(URL, {"status": "inactive"}).json()["items"]] == [
        "NIFTYNEAR25000CE"
    ]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "1001"}, {"offset": "-1"}, {"status": "x"}, {"sort": "a"}])
def test_a_list_that_makes_no_sense_is_refused(reader: Client, query: dict[str, str]) -> None:
    assert reader.get(URL, query).status_code == 400


def test_one_subscription_and_a_derived_one_can_be_read(reader: Client, chain: dict[str, int]) -> None:
    subscribe(instrument_token=chain["NIFTYNEAR25000CE"])
    asked = reader.get(f"{URL}/{chain['NIFTYNEAR25000CE']}").json()
    derived = reader.get(f"{URL}/256265").json()
    assert (asked["derived"], derived["derived"]) == (False, True)
    assert (derived["tradingsymbol"], derived["created_at"]) == ("NIFTY 50", None)
    assert code_of(reader.get(f"{URL}/{chain['NIFTYFAR25000CE']}")) == "not_subscribed"


def test_reading_is_not_changing(reader: Client, chain: dict[str, int]) -> None:
    assert post(reader, instrument_token=256265).status_code == 403
    assert reader.delete(f"{URL}/256265").status_code == 403
    assert Client().get(URL).status_code == 401


@pytest.fixture
def control(valkey: "redis.Redis") -> Iterator["redis.client.PubSub"]:
    with valkey.pubsub(ignore_subscribe_messages=True) as pubsub:  # type: ignore[no-untyped-call]
        pubsub.subscribe("ticker:control")
        pubsub.get_message(timeout=5)
        yield pubsub


def test_the_stream_is_told_after_the_commit(
    streamer: Client, chain: dict[str, int], control: "redis.client.PubSub", django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        post(streamer, instrument_token=256265)
        assert control.get_message(timeout=0.05) is None
    message = control.get_message(timeout=5)
    assert message is not None
    assert json.loads(message["data"]) == {"type": "subscriptions_changed"}


def test_the_admin_lists_and_changes_subscriptions(admin_client: Client, chain: dict[str, int]) -> None:
    subscription, _ = subscribe(instrument_token=256265)
    assert b"NIFTY 50" in admin_client.get("/admin/streaming/subscription/").content
    page = f"/admin/streaming/subscription/{subscription.pk}/change/"
    assert admin_client.get(page).status_code == 200
    admin_client.post(
        page, {"instrument": subscription.instrument_id, "requested_mode": "ltp", "status": "active", "account": ""}
    )
    subscription.refresh_from_db()
    assert subscription.requested_mode == "ltp"


# --- capacity -------------------------------------------------------------------------------------------------------


def test_more_than_the_sockets_carry_is_refused_with_the_limit_and_the_use(
    chain: dict[str, int], account: TradingAccount, streamer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.subscriptions.TOKENS_PER_CONNECTION", 1)
    assert post(streamer, instrument_token=chain["NIFTYNEAR25000CE"]).status_code == 201, (
        "with its spot and future: three"
    )
    refused = post(streamer, instrument_token=chain["NIFTYNEAR25000PE"])
    assert refused.status_code == 409
    error = refused.json()["error"]
    assert (error["code"], error["details"]) == ("capacity", {"limit": 3, "used": 3, "wanted": 1})
    assert post(streamer, instrument_token=chain["NIFTYNEAR25000CE"]).status_code == 200, "it is there already"
    assert Subscription.objects.active().count() == 1
    with pytest.raises(CommandError, match="12 more do not fit: the accounts may carry 3 instruments"):
        call_command("follow_chains", "NIFTY", "--expiries", "3")
    assert Subscription.objects.active().count() == 1


def test_what_is_pinned_has_the_room_of_its_account(
    chain: dict[str, int], account: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.subscriptions.TOKENS_PER_CONNECTION", 1)
    symbols = [symbol for symbol in chain if symbol.startswith("NIFTYNEAR")]
    monkeypatch.setattr(TradingAccount.objects, "for_data", lambda: TradingAccount.objects.none())
    for symbol in symbols[:3]:
        subscribe(instrument_token=chain[symbol], account=account)
    with pytest.raises(CapacityExceeded, match="account AB1234 may carry 3 instruments, and 3 are streamed"):
        subscribe(instrument_token=chain[symbols[3]], account=account)


def test_why_something_is_not_streamed_is_told_with_it(
    chain: dict[str, int], account: TradingAccount, reader: Client, admin_client: Client
) -> None:
    subscribe(instrument_token=chain["NIFTYNEAR25000CE"])
    subscribe(instrument_token=chain["NIFTYFAR25000CE"])
    part = part_of_instrument(Instrument.objects.by_token(chain["NIFTYNEAR25000CE"]))
    StreamPart.objects.create(part=part, owner=None, account=None, reason="no room at all")
    found = {one["tradingsymbol"]: one["not_streamed_because"] for one in reader.get(URL).json()["items"]}
    assert found == {"NIFTYNEAR25000CE": "no room at all", "NIFTYFAR25000CE": None}
    one = reader.get(f"{URL}/{chain['NIFTYNEAR25000CE']}").json()
    assert one["not_streamed_because"] == "no room at all"
    assert "no room at all" in admin_client.get("/admin/streaming/subscription/").content.decode()
