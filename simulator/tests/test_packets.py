"""The wire form against published bytes and the official parser."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteTicker
from numpy.typing import NDArray

from simulator.packets import FULL, FULL_MODE, LTP, MODES, NOT_SUBSCRIBED, QUOTE, encode_frame

INFY, NIFTY = 408065, 256265
positive = st.integers(0, 2**31 - 1)


@pytest.fixture(scope="module")
def official() -> KiteTicker:
    return KiteTicker("key", "token")


def some(*packets: dict[str, int]) -> NDArray[np.void]:
    array = np.zeros(len(packets), dtype=FULL)
    for row, fields in enumerate(packets):
        for name, value in fields.items():
            array[name][row] = value
    return array


def one(**fields: int) -> NDArray[np.void]:
    return some(fields)


def frame(packets: NDArray[np.void], *modes: int) -> bytes:
    rows = np.arange(len(packets))
    is_index = np.array([token & 0xFF == 9 for token in packets["instrument_token"].tolist()])
    return encode_frame(packets, rows, np.array(modes, dtype=np.uint8), is_index)


NIFTY_PACKET = {
    "instrument_token": NIFTY,
    "last_price": 2605005,
    "high": 2611000,
    "low": 2590010,
    "open": 2595000,
    "close": 2600000,
    "exchange_timestamp": 0x692D1644,
}


def test_a_last_price_has_these_bytes() -> None:
    packet = one(instrument_token=INFY, last_price=157315)
    assert frame(packet, LTP).hex(" ", 4) == bytes.fromhex("0001 0008 00063a01 00026683").hex(" ", 4)


def test_an_index_has_an_order_of_its_own() -> None:
    expected = "0001 001c 0003e909 0027bfcd 0027d738 0027853a 002798b8 0027ac40 0000138d"
    assert frame(one(**NIFTY_PACKET), QUOTE) == bytes.fromhex(expected)
    longer = expected.replace("001c", "0020") + "692d1644"
    assert frame(one(**NIFTY_PACKET), FULL_MODE) == bytes.fromhex(longer)


def test_packets_of_several_lengths_share_a_frame() -> None:
    both = some({"instrument_token": INFY, "last_price": 157315}, NIFTY_PACKET)
    expected = (
        "0002 0008 00063a01 00026683 0020 0003e909 0027bfcd 0027d738 0027853a 002798b8 0027ac40 0000138d 692d1644"
    )
    assert frame(both, LTP, FULL_MODE) == bytes.fromhex(expected)


def test_what_is_not_subscribed_is_not_sent() -> None:
    assert frame(one(instrument_token=INFY), NOT_SUBSCRIBED) == b"\x00\x00"


@st.composite
def any_packets(draw: st.DrawFn) -> NDArray[np.void]:
    """Full packets of any content."""
    count = draw(st.integers(1, 6))
    packets = np.zeros(count, dtype=FULL)
    for row in range(count):
        exchange_token, segment = draw(st.integers(1, 2**23 - 1)), draw(st.sampled_from((1, 2, 5, 9)))
        packets["instrument_token"][row] = exchange_token << 8 | segment
        for name in FULL.names[1:16] if FULL.names else ():
            packets[name][row] = draw(positive)
        for side in ("bids", "offers"):
            for level in range(5):
                packets[side][row, level] = (draw(positive), draw(positive), draw(st.integers(0, 2**15 - 1)), 0)
    return packets


@given(packets=any_packets(), modes=st.lists(st.sampled_from(sorted(MODES.values())), min_size=6, max_size=6))
def test_the_official_parser_reads_back_what_was_encoded(packets: NDArray[np.void], modes: list[int]) -> None:
    ticks = KiteTicker("key", "token")._parse_binary(frame(packets, *modes[: len(packets)]))
    assert len(ticks) == len(packets)
    by_content = {(t["instrument_token"], t["last_price"], t["mode"]): t for t in ticks}
    names = {mode: name for name, mode in MODES.items()}
    for packet, mode in zip(packets, modes, strict=False):
        key = (int(packet["instrument_token"]), int(packet["last_price"]) / 100, names[mode])
        assert_same(by_content[key], packet, mode)


def assert_same(tick: dict[str, Any], packet: np.void, mode: int) -> None:
    if mode == LTP:
        return
    assert tick["ohlc"] == {name: int(packet[name]) / 100 for name in ("open", "high", "low", "close")}
    if not tick["tradable"]:
        return
    assert tick["volume_traded"] == int(packet["volume"])
    assert tick["total_sell_quantity"] == int(packet["sell_quantity"])
    if mode == FULL_MODE:
        assert tick["oi_day_low"] == int(packet["oi_day_low"])
        for side, field in (("buy", "bids"), ("sell", "offers")):
            levels = [(level["quantity"], level["price"], level["orders"]) for level in tick["depth"][side]]
            assert levels == [(int(q), int(p) / 100, int(o)) for q, p, o, _ in packet[field].tolist()]
