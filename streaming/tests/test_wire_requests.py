"""What is asked of the broker's socket."""

import json

from hypothesis import given
from hypothesis import strategies as st

from streaming.wire_requests import Mode, requests_for

modes = st.dictionaries(st.integers(1, 30), st.sampled_from(Mode), max_size=20)


def broker_after(requests: list[str], subscribed: dict[int, Mode]) -> dict[int, Mode]:
    """What the broker makes of the frames."""
    for text in requests:
        match json.loads(text):
            case {"a": "subscribe", "v": tokens}:
                subscribed |= dict.fromkeys(tokens, Mode.QUOTE)
            case {"a": "unsubscribe", "v": tokens}:
                subscribed = {token: mode for token, mode in subscribed.items() if token not in tokens}
            case {"a": "mode", "v": [mode, tokens]}:
                assert set(tokens) <= subscribed.keys()
                subscribed |= dict.fromkeys(tokens, Mode(mode))
    return subscribed


@given(applied=modes, desired=modes, chunk=st.integers(1, 8))
def test_the_frames_lead_from_what_is_to_what_is_wanted(
    applied: dict[int, Mode], desired: dict[int, Mode], chunk: int
) -> None:
    requests = requests_for(applied, desired, chunk)
    noted = dict(applied)
    for request in requests:
        assert len(request.tokens) <= chunk
        request.apply(noted)
    assert noted == desired
    assert broker_after([request.text for request in requests], dict(applied)) == desired


@given(modes)
def test_nothing_is_asked_when_nothing_changes(desired: dict[int, Mode]) -> None:
    assert requests_for(desired, desired) == []
