"""The types of the short messages on the control channel (`accounts.control`) that the stream and the hub act on.

A message is a nudge and may be lost: whoever acts on one also looks every few seconds by himself.
"""

from typing import Any

import orjson

SUBSCRIPTIONS_CHANGED = "subscriptions_changed"
TOKEN_CHANGED = "token_changed"  # noqa: S105 - a message's type
STREAMS_CHANGED = "streams_changed"  # slots, processes or the placement of parts
PARTS_CHANGED = "parts_changed"  # what is streamed changed, and the hash of parts with it


def read_message(data: bytes) -> dict[str, Any]:
    """A control message, or an empty dict if it is not one."""
    try:
        message = orjson.loads(data)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}
