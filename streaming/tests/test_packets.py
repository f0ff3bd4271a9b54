import base64
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kiteconnect import KiteTicker

from streaming.packet_fields import (
    DEPTH_LEVELS,
    FIELDS,
    FULL,
    INDEX_QUOTE,
    LTP,
    NUMBERS,
    NUMBERS_HELD,
    QUOTE,
    WORDS,
    WORDS_HELD,
    Fields,
    numbers_of,
)
from streaming.packets import Fault, Window, decode_window
from streaming.tests import frames
from streaming.tick_dicts import decode_frame_to_dicts

official = KiteTicker("key", "token")

# Frames with a known meaning, as the protocol's description gives them.
LTP_FRAME = bytes.fromhex("0001 0008 00063a01 00026683")
CURRENCY_FRAME = bytes.fromhex("0001 0008 00064c03 2b5d8830")
INDEX_PACKET = "0003e909 0027bfcd 0027d738 0027853a 002798b8 0027ac40 0000138d"
INDEX_QUOTE_FRAME = bytes.fromhex(f"0001 001c {INDEX_PACKET}")
INDEX_FULL_FRAME = bytes.fromhex(f"0001 0020 {INDEX_PACKET} 692d1644")
TWO_PACKETS_FRAME = bytes.fromhex(f"0002 0008 00063a01 00026683 0020 {INDEX_PACKET} 692d1644")
FULL_FRAME = bytes.fromhex(
    "000100b8 00063a01 00026683 0000000a 00026569 0011f1b2 0003e9ff 00058037"
    "000264f3 0002673c 000261c9 0002646c 692d1643 00000000 00000000 00000000 692d1644"
    "00000064 0002667e 0003 0000 00000065 00026679 0004 0000 00000066 00026674 0005 0000"
    "00000067 0002666f 0006 0000 00000068 0002666a 0007 0000"
    "000000c8 00026683 0004 0000 000000c9 00026688 0005 0000 000000ca 0002668d 0006 0000"
    "000000cb 00026692 0007 0000 000000cc 00026697 0008 0000"
)
QUARTER_TO_TEN = 1764562500  # 2025-12-01 09:45:00 IST

positive_ints = st.integers(0, 2**31 - 1)
tokens = st.builds(frames.token, st.integers(0, 2**24 - 1), st.sampled_from([*range(13), 200, 255]))
words = {LTP: 1, INDEX_QUOTE: 6, 32: 7, QUOTE: 10}
packets = st.one_of(
    *(
        st.builds(lambda t, w: np.array([t, *w], ">u4").tobytes(), tokens, st.tuples(*[positive_ints] * count))
        for count in words.values()
    ),
    st.builds(
        lambda t, w, depth: np.array([t, *w], ">u4").tobytes() + depth,
        tokens,
        st.tuples(*[positive_ints] * 15),
        st.lists(st.tuples(positive_ints, positive_ints, st.integers(0, 2**16 - 1)), min_size=10, max_size=10).map(
            lambda entries: b"".join(
                q.to_bytes(4, "big") + p.to_bytes(4, "big") + o.to_bytes(2, "big") + b"\0\0" for q, p, o in entries
            )
        ),
    ),
)
sound_frames = st.lists(packets, max_size=12).map(lambda some: frames.frame(*some))


def in_arrival_order(window: Window) -> list[dict[str, Any]]:
    """The window's columns as one flat dict per packet."""
    rows: dict[int, dict[str, Any]] = {}
    for block in window.blocks:
        for row, place in enumerate(block.sequence.tolist()):
            rows[place] = {name: values[row].tolist() for name, values in block.columns.items()}
            rows[place]["length"] = block.length
    return [rows[place] for place in sorted(rows)]


def flattened(tick: dict[str, Any]) -> dict[str, Any]:
    """A tick of the official client in the shape of `in_arrival_order`, its naive local times as Unix seconds."""
    flat = {name: value for name, value in tick.items() if name not in ("tradable", "mode", "ohlc", "depth", "change")}
    flat |= tick.get("ohlc", {})
    if "ohlc" in tick:
        flat["change_percent"] = tick["change"]
    for name in ("last_trade_time", "exchange_timestamp"):
        if name in flat:
            flat[name] = int(flat[name].timestamp())
    if "depth" in tick:
        entries = tick["depth"]["buy"] + tick["depth"]["sell"]
        flat |= {f"depth_{name}": [entry[name] for entry in entries] for name in ("price", "quantity", "orders")}
        flat |= {"bid": entries[0]["price"], "ask": entries[DEPTH_LEVELS]["price"]}
    return flat


def without_length(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Drops what the official client has no word for, and its zero where a change has no base."""
    for row in rows:
        del row["length"]
        if row.get("close") == 0:
            row["change_percent"] = 0
    return rows


def test_the_ltp_packet() -> None:
    (tick,) = in_arrival_order(decode_window([LTP_FRAME]))
    assert tick == {"length": LTP, "instrument_token": 408065, "last_price": 1573.15}


def test_a_currency_price_has_seven_decimals() -> None:
    (tick,) = in_arrival_order(decode_window([CURRENCY_FRAME]))
    assert (tick["instrument_token"], tick["last_price"]) == (412675, 72.755)


def test_the_index_packet_has_its_own_order_of_prices() -> None:
    (tick,) = in_arrival_order(decode_window([INDEX_QUOTE_FRAME]))
    assert (tick["instrument_token"], tick["last_price"]) == (256265, 26050.05)
    assert (tick["open"], tick["high"], tick["low"], tick["close"]) == (25950.0, 26110.0, 25900.1, 26000.0)
    assert tick["change_percent"] == pytest.approx(0.1925)


def test_the_full_index_packet_adds_the_exchange_time() -> None:
    (tick,) = in_arrival_order(decode_window([INDEX_FULL_FRAME]))
    assert tick["exchange_timestamp"] == QUARTER_TO_TEN


def test_packets_of_two_lengths_share_a_frame() -> None:
    first, second = in_arrival_order(decode_window([TWO_PACKETS_FRAME]))
    assert (first["last_price"], second["last_price"]) == (1573.15, 26050.05)


def test_the_full_packet() -> None:
    (tick,) = in_arrival_order(decode_window([FULL_FRAME]))
    assert (tick["last_price"], tick["last_traded_quantity"], tick["average_traded_price"]) == (1573.15, 10, 1570.33)
    assert (tick["volume_traded"], tick["total_buy_quantity"], tick["total_sell_quantity"]) == (1175986, 256511, 360503)
    assert (tick["open"], tick["high"], tick["low"], tick["close"]) == (1569.15, 1575.0, 1561.05, 1567.8)
    assert (tick["last_trade_time"], tick["exchange_timestamp"]) == (QUARTER_TO_TEN - 1, QUARTER_TO_TEN)
    assert tick["change_percent"] == pytest.approx(0.34124, abs=5e-6)


def test_the_depth_of_the_full_packet() -> None:
    (tick,) = in_arrival_order(decode_window([FULL_FRAME]))
    assert tick["depth_quantity"] == [100, 101, 102, 103, 104, 200, 201, 202, 203, 204]
    assert tick["depth_price"][:5] == [1573.10, 1573.05, 1573.00, 1572.95, 1572.90]
    assert tick["depth_price"][5:] == [1573.15, 1573.20, 1573.25, 1573.30, 1573.35]
    assert tick["depth_orders"] == [3, 4, 5, 6, 7, 4, 5, 6, 7, 8]


def test_the_recorded_packet_has_the_recorded_values() -> None:
    folder = os.environ.get("KITE_MOCKS_DIR")
    if not folder:
        pytest.skip("KITE_MOCKS_DIR does not name a folder with the broker's recorded bodies")
    packet = base64.b64decode(Path(folder, "ticker_quote.packet").read_text())
    frame = frames.frame(packet)
    assert decode_frame_to_dicts(frame) == official._parse_binary(frame)
    assert without_length(in_arrival_order(decode_window([frame]))) == [flattened(official._parse_binary(frame)[0])]


@given(st.lists(sound_frames, max_size=6))
def test_columns_equal_the_official_client_to_the_last_bit(window: list[bytes]) -> None:
    theirs = [flattened(tick) for frame in window for tick in official._parse_binary(frame)]
    assert without_length(in_arrival_order(decode_window(window))) == theirs


@given(sound_frames)
def test_dicts_equal_the_official_client_but_for_aware_times(frame: bytes) -> None:
    theirs = official._parse_binary(frame)
    for tick in theirs:
        for name in ("last_trade_time", "exchange_timestamp"):
            if name in tick:
                tick[name] = tick[name].astimezone(UTC)
    assert decode_frame_to_dicts(frame) == theirs


@pytest.mark.parametrize("count", [1, 63, 64, 65, 300])
def test_frames_of_one_packet_length_keep_order_among_other_frames(count: int) -> None:
    even = frames.frame(*(frames.full(frames.token(n), 100 + n) for n in range(count)))
    window = [LTP_FRAME, even, TWO_PACKETS_FRAME, even]
    theirs = [flattened(tick) for frame in window for tick in official._parse_binary(frame)]
    assert without_length(in_arrival_order(decode_window(window))) == theirs


@pytest.mark.parametrize(("segment", "price"), [(3, 0.0012345), (6, 1.2345), (9, 123.45), (12, 1.2345), (13, 123.45)])
def test_depth_has_the_decimals_of_its_segment(segment: int, price: float) -> None:
    depth = [(75, 12_345, 1)] * 10
    frame = frames.frame(frames.full(frames.token(1, segment), 12_345, depth=depth))
    (block,) = decode_window([frame]).blocks
    assert block.columns["depth_price"].tolist() == [[price] * 10]
    assert [entry["price"] for entry in decode_frame_to_dicts(frame)[0]["depth"]["sell"]] == [price] * 5


def refuse(*_: object) -> None:
    raise AssertionError("the slow way was taken")


@pytest.mark.parametrize("counts", [[1], [3], [1, 2, 1], [300, 1, 256]])
def test_packets_of_one_length_are_found_without_stepping_over_each(
    counts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.packets._step_over", refuse)
    window = decode_window([frames.frame(*[FULL_FRAME[4:]] * count) for count in counts])
    (block,) = window.blocks
    assert (len(block), block.sequence.tolist()) == (sum(counts), list(range(sum(counts))))
    assert set(block.columns["last_price"].tolist()) == {1573.15}


def test_a_sound_frame_needs_no_salvage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streaming.packets.salvage", refuse)
    monkeypatch.setattr("streaming.tick_dicts.salvage", refuse)
    assert decode_window([TWO_PACKETS_FRAME, FULL_FRAME, b"\x00\x00"]).packets == 3
    assert len(decode_frame_to_dicts(TWO_PACKETS_FRAME)) == 2


@pytest.mark.parametrize("frame", [LTP_FRAME, INDEX_QUOTE_FRAME, INDEX_FULL_FRAME, FULL_FRAME])
def test_a_frame_of_one_packet_is_decoded_to_dicts_without_the_loop(
    frame: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streaming.tick_dicts._ticks", refuse)
    assert len(decode_frame_to_dicts(frame)) == 1


@pytest.mark.parametrize("between", [[], [INDEX_QUOTE_FRAME[4:]]])
def test_packets_are_gathered_from_among_others(between: list[bytes]) -> None:
    some = [frames.full(frames.token(n), 100 * n) for n in range(1, 6)]
    window = decode_window([frames.frame(*some[:2], *between, *some[2:])])
    block = window.blocks[-1]
    assert block.columns["last_price"].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert block.columns["instrument_token"].tolist() == [frames.token(n) for n in range(1, 6)]


@pytest.mark.parametrize("length", FIELDS)
def test_a_packet_holds_the_numbers_of_its_fields(length: int) -> None:
    rows = np.zeros((1, len(NUMBERS)), np.int64)
    for held in NUMBERS_HELD[length]:
        rows[:, held] = -1
    held_names = {name for name, values in numbers_of(rows).items() if values.view(np.int64).all()}
    assert held_names == {*NUMBERS} & {*Fields(length, np.zeros((1, length // 4), np.int32))}


@given(st.lists(packets, min_size=1, max_size=4))
def test_the_words_of_a_short_packet_say_the_same_where_the_longest_one_has_them(some: list[bytes]) -> None:
    for block in decode_window([frames.frame(*some)]).blocks:
        words = np.zeros((len(block), WORDS), np.int32)
        held = WORDS_HELD[block.length]
        words[:, list(held.values())] = block.words[:, list(held)]
        moved = Fields(FULL, words)
        for name in {*block.columns} - {"depth_quantity", "depth_price", "depth_orders"}:
            assert np.array_equal(moved[name], block.columns[name], equal_nan=True), name


def test_columns_have_the_types_that_are_promised_and_stand_alone() -> None:
    (block,) = decode_window([FULL_FRAME]).blocks
    kinds = {name: column.dtype for name, column in block.columns.items()}
    assert kinds["instrument_token"] == np.uint32
    assert {kinds[name] for name in ("last_price", "average_traded_price", "close", "depth_price")} == {np.dtype(float)}
    assert {kinds[name] for name in ("volume_traded", "oi", "exchange_timestamp")} == {np.dtype(np.int64)}
    assert {kinds[name] for name in ("depth_quantity", "depth_orders")} == {np.dtype(np.int32)}
    assert not any(np.shares_memory(column, np.frombuffer(FULL_FRAME, np.uint8)) for column in block.columns.values())


def test_a_packet_has_no_columns_but_those_of_its_length() -> None:
    short, full = (decode_window([frame]).blocks[0].columns for frame in (LTP_FRAME, FULL_FRAME))
    assert (len(short), len(full)) == (2, len(list(full)))
    assert [short.get(name) for name in ("depth_price", "change_percent", "close", "nothing")] == [None] * 4


def test_two_divisors_in_one_window_are_each_their_own() -> None:
    window = decode_window(
        [frames.frame(frames.ltp(frames.token(1, frames.CDS), 10**7), frames.ltp(frames.token(2), 100))]
    )
    assert window.blocks[0].columns["last_price"].tolist() == [1.0, 1.0]


def test_faults_are_counted_under_their_names_in_small_letters() -> None:
    assert [fault.value for fault in Fault] == [fault.name.lower() for fault in Fault]


def test_times_are_aware() -> None:
    (tick,) = decode_frame_to_dicts(FULL_FRAME)
    assert tick["exchange_timestamp"] == datetime(2025, 12, 1, 4, 15, tzinfo=UTC)


def test_prices_below_zero_are_read_as_such() -> None:
    frame = frames.frame(frames.ltp(frames.token(1, 7), -3763))
    assert in_arrival_order(decode_window([frame]))[0]["last_price"] == -37.63
    assert decode_frame_to_dicts(frame)[0]["last_price"] == -37.63


def test_a_change_without_a_previous_close_is_not_a_number() -> None:
    (block,) = decode_window([frames.frame(frames.quote(frames.token(1), 100))]).blocks
    assert np.isnan(block.columns["change_percent"]).all()


def test_heartbeats_are_counted_and_are_no_fault() -> None:
    window = decode_window([b"\x00", LTP_FRAME, b"\x01"])
    assert (window.packets, window.heartbeats, window.faults) == (1, 2, Counter())


GOOD = frames.ltp(frames.token(7), 700)


@pytest.mark.parametrize(
    ("damaged", "faults"),
    [
        (b"", {Fault.EMPTY: 1}),
        (b"\x00\x00", {}),
        (b"\x00\x00" + LTP_FRAME[2:], {Fault.BAD_COUNT: 1}),
        (b"\xff\xff", {Fault.BAD_COUNT: 1}),
        (b"\x00\x01\x00", {Fault.TRUNCATED: 1}),
        (b"\x00\x01\x00\x00", {Fault.UNKNOWN_LENGTH: 1}),
        (b"\x00\x01\xff\xff\x00\x00", {Fault.TRUNCATED: 1}),
        (b"\x00" * 1_000_000, {Fault.BAD_COUNT: 1}),
        (b"\xff\xff" + b"\x00" * 131_070, {Fault.UNKNOWN_LENGTH: 65_535}),
    ],
)
def test_a_damaged_frame_is_counted_by_reason_and_harms_no_other(damaged: bytes, faults: dict[Fault, int]) -> None:
    window = decode_window([LTP_FRAME, damaged, CURRENCY_FRAME])
    assert [tick["instrument_token"] for tick in in_arrival_order(window)] == [408065, 412675]
    assert decode_frame_to_dicts(damaged) == []
    assert {fault: count for fault, count in window.faults.items() if count} == faults


@pytest.mark.parametrize(
    ("damaged", "fault"),
    [
        (b"\x00\x03" + frames.frame(GOOD, GOOD)[2:], Fault.BAD_COUNT),
        (frames.frame(GOOD, GOOD) + b"\x00\x08", Fault.BAD_COUNT),
        (frames.frame(GOOD, GOOD) + b"\x00", Fault.ODD),
        (frames.frame(GOOD, GOOD, GOOD)[:-1], Fault.TRUNCATED),
        (frames.frame(GOOD, b"\x00" * 183, GOOD), Fault.UNKNOWN_LENGTH),
        (frames.frame(GOOD, b"", GOOD), Fault.UNKNOWN_LENGTH),
    ],
)
def test_the_good_packets_of_a_damaged_frame_are_kept(damaged: bytes, fault: Fault) -> None:
    window = decode_window([damaged])
    assert [tick["last_price"] for tick in in_arrival_order(window)] == [7.0, 7.0]
    assert window.faults == {fault: 1}
    assert [tick["last_price"] for tick in decode_frame_to_dicts(damaged)] == [7.0, 7.0]


@given(st.lists(st.binary(max_size=400), max_size=5))
def test_no_bytes_raise(window: list[bytes]) -> None:
    decode_window(window)
    for frame in window:
        decode_frame_to_dicts(frame)


@given(st.lists(packets, min_size=1, max_size=20), st.data())
def test_a_frame_cut_anywhere_keeps_its_whole_packets(some: list[bytes], data: st.DataObject) -> None:
    frame = frames.frame(*some)
    cut = data.draw(st.integers(2, len(frame) - 1))
    ends = np.cumsum([len(packet) + 2 for packet in some]) + 2
    whole = int((ends <= cut).sum())
    window = decode_window([frame[:cut]])
    assert window.packets == whole
    assert window.faults.total() == 1
    assert len(decode_frame_to_dicts(frame[:cut])) == whole


@given(st.lists(sound_frames, min_size=1, max_size=4), st.data())
def test_a_mutated_window_never_raises_and_both_decoders_agree(window: list[bytes], data: st.DataObject) -> None:
    frame = bytearray(data.draw(st.sampled_from(window)))
    for place in data.draw(st.lists(st.integers(0, len(frame) - 1), max_size=4)):
        frame[place] = data.draw(st.integers(0, 255))
    decoded = decode_window([*window, bytes(frame)])
    assert decode_window([bytes(frame)]).packets == len(decode_frame_to_dicts(bytes(frame)))
    assert decoded.packets >= sum(len(decode_frame_to_dicts(sound)) for sound in window)
