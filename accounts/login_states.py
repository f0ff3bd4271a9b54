"""The `state` of a login at the broker: bound to the person's session and one account, used once, good for minutes."""

import hmac
import secrets
import time
from uuid import UUID

from django.contrib.sessions.backends.base import SessionBase

LIFETIME_SECONDS = 300
_SESSION_KEY = "kite_login_states"


def start_state(session: SessionBase, account_id: UUID) -> str:
    """A new state for a login of this account, remembered in the person's session."""
    state = secrets.token_urlsafe(24)
    session[_SESSION_KEY] = [*_fresh(session), (state, str(account_id), time.time())]
    return state


def finish_state(session: SessionBase, state: str) -> UUID | None:
    """The account whose login `state` belongs to; None if it is unknown, too old or used before. It is used up."""
    found: UUID | None = None
    kept = []
    for known, account_id, started in _fresh(session):
        if hmac.compare_digest(known.encode(), state.encode()):
            found = UUID(account_id)
        else:
            kept.append((known, account_id, started))
    session[_SESSION_KEY] = kept
    return found


def _fresh(session: SessionBase) -> list[tuple[str, str, float]]:
    oldest = time.time() - LIFETIME_SECONDS
    return [tuple(entry) for entry in session.get(_SESSION_KEY, []) if entry[2] > oldest]
