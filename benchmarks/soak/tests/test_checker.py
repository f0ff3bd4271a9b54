"""The soak's checker sees what it is there to see."""

from dataclasses import replace
from typing import Any

from benchmarks.soak.checker import Findings, Row, compare
from benchmarks.soak.history import Answer, Asked, Kind
from simulator.control import AcceptedOrder

BODY = {"tradingsymbol": "INFY", "quantity": 3, "price": "1500.00"}
ROW = Row("task-1", "SK0001", "k1", "T1", "place", BODY | {"price": "1500"}, "completed", "", "101", None)
ORDER = AcceptedOrder("101", "101", "SK0001", "app", "T1", 1, 50.0, True, "OPEN", 0, 0, {})
TAKEN = Answer(202, "task-1")


def asked(*answers: Answer, **changes: Any) -> Asked:
    return Asked(
        **{"kind": Kind.PLACE, "user_id": "SK0001", "key": "k1", "body": BODY, "answers": list(answers)} | changes
    )


def found(
    history: list[Asked] | None = None, rows: list[Row] | None = None, orders: list[AcceptedOrder] | None = None
) -> Findings:
    return compare(
        [asked(TAKEN)] if history is None else history,
        [ROW] if rows is None else rows,
        [ORDER] if orders is None else orders,
        visible_seconds=2.0,
    )


def test_an_order_that_was_taken_on_sent_and_is_there_is_well() -> None:
    assert found().are_none
    assert found([asked(Answer(None), Answer(503), TAKEN, Answer(200, "task-1"))]).are_none


def test_two_sendings_of_one_task_are_a_duplicate_and_slices_of_one_are_not() -> None:
    assert len(found(orders=[ORDER, replace(ORDER, order_id="102", root="102")]).duplicates) == 1
    assert found(orders=[ORDER, replace(ORDER, order_id="102")]).are_none
    assert found(orders=[ORDER, replace(ORDER, order_id="102", root="102", sent=False)]).are_none


def test_two_tasks_of_one_key_and_an_order_without_a_task_are_duplicates() -> None:
    other = replace(ROW, task="task-2", tag="T2", broker_order_id="102")
    orders = [ORDER, replace(ORDER, order_id="102", root="102", tag="T2")]
    assert len(found([asked(TAKEN, Answer(202, "task-2"))], [ROW, other], orders).duplicates) == 1
    assert len(found(orders=orders).duplicates) == 1


def test_an_order_is_lost_without_its_row_its_answer_its_own_terms_or_its_place_at_the_broker() -> None:
    assert len(found(rows=[], orders=[]).lost) == 1
    assert len(found([asked(Answer(None), Answer(500))], [], []).lost) == 1
    assert len(found([asked(TAKEN, body=BODY | {"quantity": 4})]).lost) == 1
    assert len(found(orders=[]).lost) == 1
    assert len(found(rows=[replace(ROW, broker_order_id="999")]).lost) == 1


def test_an_order_called_failed_that_the_broker_has_is_lost_and_one_that_it_never_had_is_not() -> None:
    failed = replace(ROW, status="failed", broker_order_id="", error_code="absent_at_broker", absent_at=55.0)
    assert len(found(rows=[failed]).lost) == 1
    assert found(rows=[failed], orders=[]).are_none


def test_a_late_arrival_is_well_and_a_wrong_verdict_that_was_taken_back_is_not() -> None:
    assert found(rows=[replace(ROW, absent_at=49.0)]).are_none  # held up on the way, and there only after it
    assert len(found(rows=[replace(ROW, absent_at=53.0)]).lost) == 1


def test_an_order_of_another_account_is_seen() -> None:
    assert len(found(orders=[replace(ORDER, user_id="SK0002")]).wrong_account) == 1
    assert len(found([asked(TAKEN, user_id="SK0002")]).wrong_account) == 1


def test_what_is_not_at_an_end_is_stuck_also_if_it_waits_for_a_person() -> None:
    for status in ("pending", "running", "retrying", "unknown", "dead_letter"):
        assert len(found(rows=[replace(ROW, status=status, broker_order_id="")], orders=[]).stuck) == 1


def test_a_cancel_or_a_change_that_is_said_to_be_done_has_to_show() -> None:
    cancel = replace(ROW, task="task-2", operation="cancel", key="c", tag="T2", params={})
    change = replace(cancel, operation="modify")
    history = [asked(TAKEN)]
    assert len(found(history, [ROW, cancel]).lost) == 1
    assert found(history, [ROW, cancel], [replace(ORDER, status="CANCELLED")]).are_none
    assert len(found(history, [ROW, change]).lost) == 1
    assert found(history, [ROW, change], [replace(ORDER, modifications=1)]).are_none


def test_a_cancel_that_came_before_its_order_went_out_is_answered_with_that_order() -> None:
    gone = replace(ROW, status="failed", broker_order_id="", error_code="cancelled_before_send")
    told = asked(Answer(200, "task-1"), kind=Kind.CANCEL, key="c", body={}, about="task-1")
    assert told.tasks == set()
    assert found([asked(TAKEN), told], [gone], []).are_none
