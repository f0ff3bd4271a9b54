"""What a client is sent, and when. No socket and no clock needed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.lines import BadLine, encode
from streaming.outbox import FRAME, FrameKind, Line, Outbox, Pacing, read_blob, read_lines

PACING = Pacing(min_interval=0.1, unacknowledged=2, never_acknowledged_interval=1, acknowledgement_timeout=10)


def line(part: str, seq: int, epoch: int = 1) -> Line:
    return Line(part, (epoch, seq), encode({"part": part, "seq": seq}))


def outbox_following(*parts: str) -> Outbox:
    outbox = Outbox(PACING)
    outbox.follow(parts)
    return outbox


def send(outbox: Outbox, now: float, blobs: dict[str, int] | None = None) -> Any:
    """Take and frame what waits; parts to be read whole have the versions of `blobs`."""
    kind, lines, whole = outbox.take()
    lines += [line(part, (blobs or {})[part]) for part in whole if part in (blobs or {})]
    frame = outbox.frame_of(kind, lines, now)
    return frame and json.loads(frame)


def test_a_new_part_is_sent_whole_first() -> None:
    outbox = outbox_following("a")
    frame = send(outbox, 0, {"a": 5})
    assert frame == {"type": "snapshot", "frame": 1, "skipped": 0, "parts": [{"part": "a", "seq": 5}]}


def test_an_update_that_the_snapshot_has_already_is_not_sent() -> None:
    outbox = outbox_following("a")
    send(outbox, 0, {"a": 5})
    outbox.offer(line("a", 5))
    assert not outbox.has_news
    outbox.offer(line("a", 6))
    assert send(outbox, 1)["parts"] == [{"part": "a", "seq": 6}]


def test_updates_that_come_too_fast_become_the_newest_blob_and_are_counted() -> None:
    outbox = outbox_following("a")
    send(outbox, 0, {"a": 1})
    for seq in (2, 3, 4):
        outbox.offer(line("a", seq))
    frame = send(outbox, 1, {"a": 4})
    assert (frame["type"], frame["skipped"], frame["parts"]) == ("update", 2, [{"part": "a", "seq": 4}])
    assert not outbox.has_news


@pytest.mark.parametrize(("held", "new"), [((5, 6, 7, 8), [7, 8]), ((8, 9), [8, 9]), ((5, 6), None)])
def test_of_a_blob_a_client_is_sent_only_the_lines_that_it_has_not(
    held: tuple[int, ...], new: list[int] | None
) -> None:
    outbox = outbox_following("a")
    send(outbox, 0, {"a": 5})
    outbox.offer(line("a", 6))
    send(outbox, 1)
    outbox.resync()
    kind, _, _ = outbox.take()
    *before, last = (line("a", seq) for seq in held)
    frame = outbox.frame_of(kind, [replace(last, before=tuple(before))], 2)
    assert (frame and [part["seq"] for part in json.loads(frame)["parts"]]) == new


def test_a_blob_is_read_as_its_last_line_with_those_before_it() -> None:
    lines = [encode({"schema": 1, "part": "nifty:underlying", "epoch": 7, "seq": seq}) for seq in (1, 2, 3)]
    blob = read_blob(b"".join(lines))
    assert blob is not None
    assert blob.version == (7, 3)
    assert [line.data for line in blob.since((-1, -1))] == lines
    assert [line.data for line in blob.since((7, 2))] == lines[2:]
    assert read_blob(b"") is None
    assert read_blob(b'{"part":"x"}') is None


def test_a_line_of_an_older_epoch_is_dropped() -> None:
    outbox = outbox_following("a")
    kind, _, _ = outbox.take()
    outbox.frame_of(kind, [line("a", 1, epoch=7)], 0)
    outbox.offer(line("a", 999, epoch=6))
    assert not outbox.has_news


def test_a_part_without_a_value_yet_is_sent_whole_when_it_has_one() -> None:
    outbox = outbox_following("a")
    assert send(outbox, 0) is None
    outbox.offer(line("a", 1))
    assert send(outbox, 0, {"a": 1})["type"] == "snapshot"


def test_what_could_not_be_read_is_still_to_be_sent() -> None:
    outbox = outbox_following("a")
    _, _, whole = outbox.take()
    outbox.put_back(whole)
    assert send(outbox, 0, {"a": 1})["type"] == "snapshot"


def test_a_part_given_up_is_not_sent_any_more() -> None:
    outbox = outbox_following("a", "b")
    send(outbox, 0, {"a": 1, "b": 1})
    outbox.offer(line("a", 2))
    outbox.follow(["b"])
    assert not outbox.has_news
    outbox.follow(["a", "b"])
    assert send(outbox, 1, {"a": 2})["type"] == "snapshot"


def test_two_frames_may_be_on_their_way() -> None:
    outbox = outbox_following("a")
    send(outbox, 0, {"a": 1})
    outbox.acknowledge(1)
    for seq, now in ((2, 1.0), (3, 2.0)):
        outbox.offer(line("a", seq))
        assert outbox.may_send_at() <= now
        send(outbox, now)
    assert outbox.may_send_at() == float("inf")
    assert outbox.overdue_at() == 12.0
    outbox.acknowledge(3)
    assert outbox.may_send_at() == 2.1
    assert outbox.overdue_at() == float("inf")


def test_a_client_may_acknowledge_every_second_frame_however_long_it_waits_for_one() -> None:
    outbox = outbox_following("a")
    send(outbox, 0, {"a": 1})
    outbox.acknowledge(1)
    for seq in range(2, 10, 2):
        for number, now in ((seq, 100.0 * seq), (seq + 1, 100.0 * seq + 90)):
            outbox.offer(line("a", number))
            assert outbox.may_send_at() <= now
            send(outbox, now)
            assert outbox.overdue_at() > now
        assert outbox.acknowledge(seq + 1)
    assert not outbox.acknowledge(seq + 1), "nothing was open any more"


def test_a_client_that_never_acknowledges_gets_a_frame_a_second_and_is_kept() -> None:
    outbox = outbox_following("a")
    for seq in range(1, 6):
        outbox.offer(line("a", seq))
        send(outbox, float(seq), {"a": seq})
        assert outbox.may_send_at() == seq + 1
    assert outbox.overdue_at() == float("inf")


def test_a_frame_that_was_never_sent_cannot_be_acknowledged() -> None:
    with pytest.raises(ValueError, match="frame 1 has not been sent"):
        outbox_following("a").acknowledge(1)


def test_a_message_is_read_as_its_lines_and_anything_else_is_refused() -> None:
    data = encode({"schema": 1, "part": "nifty:2026-12-01", "epoch": 7, "seq": 12})
    assert read_lines(data * 2) == [Line("nifty:2026-12-01", (7, 12), data)] * 2
    assert read_lines(b"") == []
    for nothing in (b'{"part":"x"}', encode({"part": "x"})):
        with pytest.raises(BadLine):
            read_lines(nothing)


def test_a_line_whose_columns_are_damaged_is_left_out_and_the_others_are_sent(
    caplog: pytest.LogCaptureFixture,
) -> None:
    good, whole = line("a", 5), encode({"part": "b", "seq": 5, "columns": {"ltp": [1, 2]}})
    damaged = Line("b", (1, 5), whole.replace(b'"json"', b'"????"'))
    outbox = outbox_following("a", "b")
    frame = outbox.frame_of(FrameKind.SNAPSHOT, [damaged, good], 0)
    assert isinstance(frame, str)
    assert json.loads(frame)["parts"] == [{"part": "a", "seq": 5}]
    assert "a line of b is left out" in caplog.text


def test_a_line_becomes_json_once_and_only_for_who_wants_json() -> None:
    one = line("a", 1)
    binary, text = (Outbox(PACING, binary=wants) for wants in (True, False))
    for outbox in (binary, text):
        outbox.follow(["a"])
        outbox.take()
    frame = binary.frame_of(FrameKind.SNAPSHOT, [one], 0)
    assert frame == FRAME.pack(1, True, 1, 0) + one.data
    assert "text" not in vars(one)
    assert (
        text.frame_of(FrameKind.SNAPSHOT, [one], 0)
        == f'{{"type":"snapshot","frame":1,"skipped":0,"parts":[{one.text}]}}'
    )


steps = st.lists(st.sampled_from(["offer a", "offer b", "send", "acknowledge", "resync"]), max_size=60)


@given(steps)
def test_whatever_happens_versions_only_grow_and_the_newest_arrives_in_the_end(steps: list[str]) -> None:
    outbox = outbox_following("a", "b")
    newest = {"a": 1, "b": 1}
    received: dict[str, int] = {}
    now = 0.0

    def deliver() -> None:
        frame = send(outbox, now, newest)
        for part in frame["parts"] if frame else []:
            assert part["seq"] > received.get(part["part"], 0)
            received[part["part"]] = part["seq"]

    for step in steps:
        now += 1
        match step.split():
            case ["offer", part]:
                newest[part] += 1
                outbox.offer(line(part, newest[part]))
            case ["send"] if outbox.may_send_at() <= now:
                deliver()
            case ["acknowledge"]:
                outbox.acknowledge(outbox.frame)
            case ["resync"]:
                outbox.resync()
        assert outbox.pending_bytes <= 2 * len(line("a", 1000).data)
    while outbox.has_news:
        deliver()
    assert received == newest


def test_kinds_are_written_as_the_protocol_says() -> None:
    assert [str(kind) for kind in FrameKind] == ["snapshot", "update"]
