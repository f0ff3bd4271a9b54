import contextlib
import json
from io import BytesIO
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings
from rest_framework.exceptions import ParseError

from tickerproject.api.parsers import LARGEST_DEPTH, BodyTooLarge, StrictJSONParser, parse_json

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.lists(values, max_size=3) | st.dictionaries(texts, st.integers(), max_size=5))
def test_ordinary_json_is_read_as_it_is(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("raw", "complaint"),
    [
        (b'{"price": NaN}', "NaN"),
        (b'{"price": -Infinity}', "Infinity"),
        (b'{"price": 1e999}', "too large"),
        (b'{"quantity": 1, "quantity": 100}', "twice"),
        (b'{"a": {"b": 1, "b": 2}}', "twice"),
        (b'{"symbol": "NIFTY\\u0000"}', "stored"),
        (b'{"sym\\u0000bol": 1}', "stored"),
        (b'["\\ud800"]', "stored"),
        (b"[" * (LARGEST_DEPTH + 2) + b"]" * (LARGEST_DEPTH + 2), "deeper"),
        (b"[" * 30_000 + b"]" * 30_000, "deeper"),
        (json.dumps({str(n): n for n in range(1001)}).encode(), "1000 keys"),
        (b"\xff\xfe", "UTF-8"),
        (b"", "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_hostile_json_is_refused_in_words(raw: bytes, complaint: str) -> None:
    with pytest.raises(ParseError, match=complaint):
        parse_json(raw)


@given(st.binary(max_size=200))
def test_no_bytes_are_an_error_of_ours(raw: bytes) -> None:
    with contextlib.suppress(ParseError):
        parse_json(raw)


def test_a_view_may_take_more_than_the_others() -> None:
    context = {"view": SimpleNamespace(largest_body_bytes=200_000, most_keys=2_000)}
    body = json.dumps({str(n): "x" * 60 for n in range(1_500)}).encode()
    assert len(StrictJSONParser().parse(BytesIO(body), parser_context=context)) == 1_500
    with pytest.raises(BodyTooLarge):
        StrictJSONParser().parse(BytesIO(body))
    with pytest.raises(ParseError, match="2000 keys"):
        StrictJSONParser().parse(
            BytesIO(json.dumps({str(n): 0 for n in range(2_001)}).encode()), parser_context=context
        )


def test_a_body_over_the_limit_is_refused_without_being_read_whole(settings: Settings) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    stream = BytesIO(b'"' + b"x" * 10_000 + b'"')
    with pytest.raises(BodyTooLarge):
        StrictJSONParser().parse(stream)
    assert stream.tell() == 101
