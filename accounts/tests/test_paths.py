import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteConnect

from accounts.broker.paths import path_of
from accounts.exceptions import RequestRejected

TEMPLATES = sorted(set(KiteConnect._routes.values()))
GOOD = {
    "order_id": "151220000000000",
    "trigger_id": 123,
    "sip_id": "846479755969168",
    "instrument_token": 256265,
    "variety": "regular",
    "exchange": "NFO",
    "segment": "equity",
    "interval": "5minute",
    "transaction_type": "BUY",
}
HOSTILE = ["..", ".", "", "/", "%2e%2e", "1/../2", "1?x=y", "1#", "1 ", "\x00", "१२", "None", "regular/1", "1;2"]


def parts_of(template: str) -> dict[str, object]:
    return {name: GOOD[name] for name in re.findall(r"{(\w+)}", template)}


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_path_of_the_official_client_takes_what_the_broker_documents(template: str) -> None:
    path = path_of(template, parts_of(template))
    assert path.count("/") == template.count("/")
    assert "{" not in path


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("template", [template for template in TEMPLATES if "{" in template])
def test_f94_nothing_else_is_ever_sent(template: str, hostile: str) -> None:
    for name in parts_of(template):
        with pytest.raises(RequestRejected, match=f"is no {name} of the broker"):
            path_of(template, parts_of(template) | {name: hostile})


@given(st.text(max_size=40))
def test_f94_whatever_stands_for_an_order_the_path_keeps_its_shape(text: str) -> None:
    try:
        path = path_of("/orders/{variety}/{order_id}", {"variety": "regular", "order_id": text})
    except RequestRejected:
        return
    assert re.fullmatch(r"/orders/regular/[0-9]{1,20}", path)


def test_orders_of_mutual_funds_have_ids_of_their_own() -> None:
    fund_order = "271989e0-a64e-4cf3-b4e4-afb8f38dd203"
    assert path_of("/mf/orders/{order_id}", {"order_id": fund_order}) == f"/mf/orders/{fund_order}"
    with pytest.raises(RequestRejected):
        path_of("/orders/{order_id}", {"order_id": fund_order})
