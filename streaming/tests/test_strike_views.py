"""Strike rules over REST and in the admin."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.models import TradingAccount
from market.models import Instrument
from streaming.models import Subscription
from streaming.rebalancing import rebalance
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.tests.strikes import Tell, token_of

URL = "/api/v1/strike-rules"
FIELDS = {
    "id", "underlying", "exchange", "enabled", "expiries", "width_kind", "width", "mode", "full_within", "quote_within",
    "hysteresis", "most_instruments", "account_id", "last_run_at", "last_outcome", "created_at", "updated_at",
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("listed")


def post(client: Client, **body: Any) -> Any:
    return client.post(URL, body, content_type="application/json")


def patch(client: Client, rule_id: int, **body: Any) -> Any:
    return client.patch(f"{URL}/{rule_id}", body, content_type="application/json")


def code_of(response: Any) -> str:
    return str(response.json()["error"]["code"])


def made(client: Client, **body: Any) -> int:
    response = post(client, **{"underlying": "NIFTY", "width": "1", "expiries": 1} | body)
    assert response.status_code == 201, response.content
    return int(response.json()["id"])


def test_a_rule_is_made_read_changed_and_deleted(streamer: Client, reader: Client) -> None:
    answer = post(streamer, underlying="nifty 50", width="0.25", width_kind="delta", hysteresis=1)
    assert answer.status_code == 201
    rule = answer.json()
    assert rule.keys() == FIELDS
    assert (rule["underlying"], rule["exchange"], rule["width"], rule["hysteresis"]) == ("NIFTY", "NFO", "0.25", "1")
    assert reader.get(f"{URL}/{rule['id']}").json() == rule

    changed = patch(streamer, rule["id"], width="7.5", width_kind="percent", enabled=False)
    assert (changed.status_code, changed.json()["width"], changed.json()["enabled"]) == (200, "7.5", False)
    assert streamer.delete(f"{URL}/{rule['id']}").status_code == 204
    assert code_of(streamer.delete(f"{URL}/{rule['id']}")) == "unknown_rule"
    assert code_of(reader.get(f"{URL}/{rule['id']}")) == "unknown_rule"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"width": "1.5"}, "non_field_errors"),
        ({"width": -1}, "non_field_errors"),
        ({"width": "501"}, "non_field_errors"),
        ({"width": "0", "width_kind": "percent"}, "non_field_errors"),
        ({"width": "0.51", "width_kind": "delta"}, "non_field_errors"),
        ({"full_within": 4, "quote_within": 3}, "non_field_errors"),
        ({"width": "NaN"}, "width"),
        ({"width": True}, "width"),
        ({"width": None}, "width"),
        ({"width_kind": "points"}, "width_kind"),
        ({"mode": "depth"}, "mode"),
        ({"expiries": 0}, "expiries"),
        ({"expiries": "2"}, "expiries"),
        ({"hysteresis": "-0.1"}, "hysteresis"),
        ({"exchange": "NSE"}, "exchange"),
        ({"account_id": "x"}, "account_id"),
        ({"underlying": ""}, "underlying"),
        ({"centres": {}}, "centres"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_by_field(streamer: Client, body: dict[str, Any], field: str) -> None:
    response = post(streamer, **{"underlying": "NIFTY", "width": "1"} | body)
    assert (response.status_code, code_of(response)) == (400, "invalid_input")
    assert field in response.json()["error"]["details"]
    assert not StrikeRule.objects.exists()


def test_what_a_change_would_make_of_a_rule_is_checked_too(streamer: Client) -> None:
    rule_id = made(streamer, full_within=1)
    assert patch(streamer, rule_id, quote_within=0).status_code == 400
    assert patch(streamer, rule_id, width_kind="delta").status_code == 400  # of 1
    assert patch(streamer, rule_id, underlying="BANKNIFTY").json()["error"]["details"] == {
        "underlying": ["Unknown field."]
    }
    assert StrikeRule.objects.get().quote_within is None


def test_an_unknown_underlying_and_a_second_rule_are_typed_errors(streamer: Client) -> None:
    unknown = post(streamer, underlying="NOSUCH", width="1")
    assert (unknown.status_code, code_of(unknown)) == (404, "unknown_underlying")
    assert code_of(post(streamer, underlying="NIFTY", exchange="BFO", width="1")) == "unknown_underlying"
    first = made(streamer)
    second = post(streamer, underlying="NIFTY", width="2")
    assert (second.status_code, code_of(second)) == (409, "rule_exists")
    spare = made(streamer, enabled=False)
    assert code_of(patch(streamer, spare, enabled=True)) == "rule_exists"
    patch(streamer, first, enabled=False)
    assert patch(streamer, spare, enabled=True).status_code == 200


def test_the_list_is_paged_and_filtered(streamer: Client, reader: Client) -> None:
    on, off = made(streamer), made(streamer, enabled=False)
    page = reader.get(URL, {"enabled": "false"}).json()
    assert ([rule["id"] for rule in page["items"]], page["total"]) == ([off], 1)
    assert [rule["id"] for rule in reader.get(URL, {"underlying": "nifty 50"}).json()["items"]] == [on, off]
    assert reader.get(URL, {"underlying": "SENSEX"}).json()["items"] == []
    assert reader.get(URL, {"sort": "a"}).status_code == 400


def test_a_preview_says_move_by_move_what_would_happen_and_does_nothing(
    streamer: Client, reader: Client, market_says: Tell
) -> None:
    rule_id = made(streamer, width="0")
    market_says(24_500)
    answer = reader.get(f"{URL}/{rule_id}/preview").json()
    assert (answer["words"], answer["price"]) == ("2 added; around 24500 (01 Dec) at 24500", "24500")
    assert answer["centres"] == [{"expiry": "2026-12-01", "strike": "24500"}]
    assert answer["moves"][0] == {
        "action": "added",
        "mode": "full",
        "instrument_token": token_of(24_500, "CE"),
        "tradingsymbol": "NIFTY26120124500CE",
        "expiry": "2026-12-01",
        "strike": "24500",
        "instrument_type": "CE",
        "reason": "at the money: within ±0 strikes",
    }
    assert not Subscription.objects.exists()


def test_the_ledger_of_a_rule_is_paged_and_the_newest_comes_first(
    streamer: Client, reader: Client, market_says: Tell
) -> None:
    rule_id = made(streamer, width="0")
    for spot in (24_500, 25_000):
        market_says(spot)
        rebalance(rule_id)
    page = reader.get(f"{URL}/{rule_id}/moves", {"limit": 4}).json()
    assert (page["total"], page["has_more"]) == (6, True)
    assert {move["action"] for move in page["items"]} == {"added", "removed"}
    assert {move["spot"] for move in page["items"]} == {"25000"}
    assert reader.get(f"{URL}/999/moves").status_code == 404


def test_a_rules_strike_says_so_and_cannot_be_unsubscribed(streamer: Client, reader: Client, market_says: Tell) -> None:
    rule_id = made(streamer)
    market_says(24_500)
    rebalance(rule_id)
    held = f"/api/v1/subscriptions/{token_of(24_500, 'CE')}"
    assert reader.get(held).json()["rule_id"] == rule_id
    refused = streamer.delete(held)
    assert (refused.status_code, code_of(refused)) == (409, "held_by_rule")
    streamer.post(
        "/api/v1/subscriptions", {"instrument_token": token_of(24_500, "CE")}, content_type="application/json"
    )
    assert reader.get(held).json()["rule_id"] is None


def test_a_rule_that_is_bound_to_an_account_is_changed_by_who_may_stream_through_it(
    streamer: Client, account: TradingAccount
) -> None:
    assert patch(streamer, made(streamer, account_id=str(account.public_id)), width="2").status_code == 200
    ravi = User.objects.create_user("ravi")
    foreign = TradingAccount.objects.create(kite_user_id="CD5678", label="Ravi", app=account.app, owner=ravi)
    refused = post(streamer, underlying="NIFTY", width="1", enabled=False, account_id=str(foreign.public_id))
    assert refused.status_code == 404
    StrikeRule.objects.update(account=foreign)
    rule = StrikeRule.objects.get()
    assert patch(streamer, rule.pk, width="3").status_code == 404
    assert streamer.delete(f"{URL}/{rule.pk}").status_code == 404
    rule.refresh_from_db()
    assert rule.width == 2


def test_reading_is_not_changing(reader: Client, streamer: Client) -> None:
    rule_id = made(streamer)
    assert post(reader, underlying="NIFTY", width="1").status_code == 403
    assert patch(reader, rule_id, width="2").status_code == 403
    assert reader.delete(f"{URL}/{rule_id}").status_code == 403
    assert Client().get(URL).status_code == 401


@pytest.mark.parametrize(
    "wrong",
    [
        {"width": Decimal("0.5")},
        {"width_kind": "points"},
        {"mode": "x"},
        {"expiries": 13},
        {"hysteresis": Decimal(-1)},
        {"full_within": 2, "quote_within": 1},
    ],
    ids=str,
)
def test_the_table_itself_refuses_what_makes_no_sense(streamer: Client, wrong: dict[str, Any]) -> None:
    made(streamer)
    with pytest.raises(IntegrityError), transaction.atomic():
        StrikeRule.objects.update(**wrong)


# --- the admin ------------------------------------------------------------------------------------------------------

ADMIN = "/admin/streaming/strikerule/"
FORM = {"underlying": "nifty 50", "exchange": "NFO", "enabled": "on", "expiries": "1", "width_kind": "count",
        "width": "1", "mode": "full", "hysteresis": "0.5"}  # fmt: skip


def test_the_admin_makes_shows_and_switches_off_rules(admin_client: Client, market_says: Tell) -> None:
    assert admin_client.post(f"{ADMIN}add/", FORM).status_code == 302
    rule = StrikeRule.objects.get()
    assert rule.underlying == "NIFTY"
    market_says(24_500)
    rebalance(rule.pk)
    page = admin_client.get(ADMIN).content.decode()
    assert "6 added; around 24500 (01 Dec) at 24500" in page
    admin_client.post(f"{ADMIN}{rule.pk}/change/", {name: value for name, value in FORM.items() if name != "enabled"})
    rule.refresh_from_db()
    assert not rule.enabled
    assert not Subscription.objects.active().exists()


def test_the_admin_refuses_what_makes_no_sense_in_words(admin_client: Client) -> None:
    admin_client.post(f"{ADMIN}add/", FORM)
    second = admin_client.post(f"{ADMIN}add/", FORM).content.decode()
    assert "Another rule for this underlying is switched on." in second
    assert "whole number" in admin_client.post(f"{ADMIN}add/", FORM | {"width": "1.5"}).content.decode()
    unknown = admin_client.post(f"{ADMIN}add/", FORM | {"underlying": "NOSUCH"}).content.decode()
    assert "No options on NOSUCH are listed" in unknown


def test_the_admins_preview_says_what_would_be_done(admin_client: Client, market_says: Tell) -> None:
    admin_client.post(f"{ADMIN}add/", FORM)
    market_says(24_500)
    rule = StrikeRule.objects.get()
    told = admin_client.post(ADMIN, {"action": "what_now", "_selected_action": [rule.pk]}, follow=True)
    assert "NIFTY: ±1 strikes: 6 added; around 24500 (01 Dec) at 24500" in told.content.decode()
    assert not Subscription.objects.exists()


def test_deleting_a_rule_in_the_admin_gives_up_its_strikes_and_the_ledger_stays(
    admin_client: Client, market_says: Tell
) -> None:
    admin_client.post(f"{ADMIN}add/", FORM)
    rule = StrikeRule.objects.get()
    market_says(24_500)
    rebalance(rule.pk)
    admin_client.post(f"{ADMIN}{rule.pk}/delete/", {"post": "yes"})
    assert not Subscription.objects.active().exists()
    assert Subscription.objects.count() == 6
    assert StrikeMove.objects.filter(reason="the rule was deleted").count() == 6
    assert "the rule was deleted" in admin_client.get("/admin/streaming/strikemove/").content.decode()


def test_a_subscription_that_a_person_saves_in_the_admin_is_the_persons(
    admin_client: Client, market_says: Tell
) -> None:
    admin_client.post(f"{ADMIN}add/", FORM)
    market_says(24_500)
    rebalance(StrikeRule.objects.get().pk)
    held = Subscription.objects.get(instrument=Instrument.objects.by_token(token_of(24_500, "CE")))
    page = f"/admin/streaming/subscription/{held.pk}/change/"
    assert admin_client.get(page).status_code == 200
    admin_client.post(
        page, {"instrument": held.instrument_id, "requested_mode": "ltp", "status": "active", "account": ""}
    )
    held.refresh_from_db()
    assert (held.requested_mode, held.rule_id) == ("ltp", None)
