import json

import pytest

from benchmarks import chain, decode
from benchmarks.harness import Result, compare, table
from benchmarks.market import frames_of, market
from streaming.contracts import Instruments
from streaming.packets import decode_window

RESULT = Result("decode", "single-1", 2.0, "us/tick", "kiteticker", 8.0, 4.0)


def test_a_result_is_one_json_object_a_line() -> None:
    assert json.loads(RESULT.as_json()) == {
        "benchmark": "decode",
        "case": "single-1",
        "value": 2.0,
        "unit": "us/tick",
        "peer": "kiteticker",
        "peer_value": 8.0,
        "ratio": 4.0,
    }


def test_the_table_says_which_peer_is_missing() -> None:
    missing = Result("pipeline", "900-ticks", 100_000.0, "ticks/s", "typical", None, None)
    assert table([RESULT, missing]).splitlines()[-1].split() == [
        "pipeline", "900-ticks", "100,000", "ticks/s", "typical", "not", "installed", "–",
    ]  # fmt: skip


def test_a_peer_that_does_more_is_slower() -> None:
    assert compare(lambda: sum(range(100)), lambda: sum(range(100_000)), rounds=5).ratio > 10


def test_the_market_has_nine_thousand_instruments_that_all_tick() -> None:
    source = market()
    assert len(Instruments(source.contracts)) == 9_000
    window = decode_window(frames_of(source, range(9_000), 100, volume=1))
    assert (window.packets, window.faults) == (9_000, {})


@pytest.mark.long
def test_decoding_is_as_much_faster_than_the_official_parser_as_promised() -> None:
    promised = {"full-3000": 150, "mixed-3000": 40, "window-30x30": 25, "single-1": 2.5, "single-8": 2.5}
    ratios = {result.case: result.ratio for result in decode.run(rounds=5)}
    assert {case for case, least in promised.items() if (ratios[case] or 0) < least} == set()


@pytest.mark.long
def test_an_expiry_is_analysed_as_much_faster_than_strike_by_strike_as_promised() -> None:
    promised = {"analyse-160": 15, "smile-160": 30}
    ratios = {result.case: result.ratio for result in chain.run(rounds=5)}
    assert {case for case, least in promised.items() if (ratios[case] or 0) < least} == set()
