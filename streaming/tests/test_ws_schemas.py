from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError

from streaming.tests.ws_schemas import check, schemas

NIFTY = {"underlying": "NIFTY", "expiry": "2026-12-01"}


@pytest.mark.parametrize("name", schemas())
def test_schemas_are_valid_and_named_after_their_file(name: str) -> None:
    Draft202012Validator.check_schema(schemas()[name])
    assert schemas()[name]["$id"] == f"urn:ticker:ws:{name}"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("subscribe", {"type": "subscribe", "id": "1", "chains": [NIFTY]}),
        ("subscribe", {"type": "subscribe", "id": "1", "tokens": [408065]}),
        ("unsubscribe", {"type": "unsubscribe", "id": "2", "chains": [NIFTY], "tokens": [408065]}),
        ("frame-ack", {"type": "ack", "frame": 17}),
        ("ack", {"type": "ack", "id": "1", "parts": ["nifty:2026-12-01", "nifty:underlying"]}),
        ("error", {"type": "error", "id": None, "code": "unknown_chain", "message": "no such chain", "details": {}}),
    ],
)
def test_the_documented_messages_are_valid(name: str, message: dict[str, Any]) -> None:
    check(name, message)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("subscribe", {"type": "subscribe", "id": "1"}),
        ("subscribe", {"type": "subscribe", "id": "1", "chains": [{"underlying": "NIFTY", "expiry": "soon"}]}),
        ("subscribe", {"type": "unsubscribe", "id": "1", "tokens": [1]}),
        ("frame-ack", {"type": "ack", "frame": 0}),
        ("update", {"type": "update", "frame": 1, "skipped": 0, "parts": [{"schema": 1}]}),
        ("error", {"type": "error", "id": "1", "message": "no code"}),
    ],
)
def test_other_messages_are_not(name: str, message: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check(name, message)
