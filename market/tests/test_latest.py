"""How a part's lines become its newest rows."""

import random
from typing import Any

import pytest

from market.latest import parse
from market.lines import encode


def line(sent_at: float, *, kind: str = "update", **columns: list[Any]) -> bytes:
    head = {"kind": kind, "source": "simulated", "feed_state": "live", "sent_at": sent_at, "market_time": sent_at}
    return encode(head | {"pricing": {"rate": sent_at}, "columns": columns})


def test_a_rows_newest_line_wins_and_older_rows_age_on() -> None:
    found = parse(
        b"".join(
            [
                line(10.0, kind="snapshot", instrument_token=[7, 8, 9], oi=[70, 80, None], age_ms=[0, 50, None]),
                line(10.5, instrument_token=[9, 8], oi=[91, 81], age_ms=[20, 0]),
                line(11.0, instrument_token=[8], oi=[None], age_ms=[5]),
            ]
        )
    )
    assert list(found.columns["instrument_token"]) == [7, 8, 9]
    assert list(found.columns["oi"]) == [70, None, 91]
    assert list(found.columns["age_ms"]) == [1000, 5, 520]
    assert (found.sent_at, found.pricing) == (11.0, {"rate": 11.0})
    assert found.age_ms(now=11.25) == pytest.approx(255)
    assert found.rows[9] == {"instrument_token": 9, "oi": 91, "age_ms": 520}


def test_a_row_that_comes_later_is_added() -> None:
    found = parse(line(1.0, instrument_token=[7], oi=[1]) + line(2.0, instrument_token=[8], oi=[2]))
    assert found.rows == {7: {"instrument_token": 7, "oi": 1}, 8: {"instrument_token": 8, "oi": 2}}


def test_any_sequence_of_updates_gives_what_applying_them_one_by_one_gives() -> None:
    dice = random.Random(20261125)
    tokens = list(range(100, 140))
    lines = [(0.0, tokens, [dice.randrange(1000) for _ in tokens])]
    for number in range(1, 30):
        some = dice.sample(tokens, dice.randrange(1, 12))
        lines.append((number / 10, some, [dice.randrange(1000) for _ in some]))
    found = parse(b"".join(line(at, instrument_token=some, oi=oi) for at, some, oi in lines))
    expected = {token: value for _, some, oi in lines for token, value in zip(some, oi, strict=True)}
    assert dict(zip(found.columns["instrument_token"], found.columns["oi"], strict=True)) == expected


def test_lines_of_a_writer_who_has_lost_the_part_are_left_out_and_a_writers_own_newer_epoch_is_not() -> None:
    def of(epoch: int, value: int, at: float) -> bytes:
        head = {"kind": "update", "source": "live", "sent_at": at, "market_time": at, "epoch": epoch}
        return encode(head | {"columns": {"instrument_token": [value], "oi": [value]}})

    found = parse(of(3, 1, 1.0) + of(5, 2, 2.0) + of(4, 3, 3.0) + of(6, 4, 4.0))
    assert list(found.columns["oi"]) == [1, 2, 4]


def test_lines_of_other_kinds_are_left_to_others() -> None:
    rows = line(1.0, kind="snapshot", instrument_token=[7], oi=[1])
    found = parse(rows + encode({"kind": "analytics", "sent_at": 9.0, "analytics": {}}))
    assert (found.sent_at, found.columns["oi"]) == (1.0, [1])


def test_a_missing_number_is_nan_in_an_array_and_so_is_a_column_that_is_not_there() -> None:
    found = parse(line(1.0, instrument_token=[7, 8], delta=[0.5, None]))
    assert found.numbers("delta") == pytest.approx([0.5, float("nan")], nan_ok=True)
    assert found.numbers("gamma") == pytest.approx([float("nan")] * 2, nan_ok=True)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"{broken",
        b"[]",
        b"null",
        encode({"kind": "analytics"}),
        line(1.0, instrument_token=[7], oi=[1, 2]),
        line(1.0, instrument_token=[7], oi=[1]) + line(2.0, instrument_token=[7]),
        line(1.0, oi=[1]),
    ],
)
def test_what_is_not_a_parts_lines_is_refused(blob: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse(blob)
