"""A cursor whose statements the database plans once a connection, for what every order asks.

Django's own cursors write the values into the text, so that the database parses and plans each statement anew: for a
claim or the limits that takes longer than carrying it out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.utils import CursorWrapper


@contextmanager
def prepared_cursor() -> Iterator[CursorWrapper]:
    """A cursor of Django's connection, in its transaction and with its errors.

    Values are bound by the server: a bare `%s` whose type nothing tells has to be cast.
    """
    ours = connections[DEFAULT_DB_ALIAS]
    ours.ensure_connection()
    make = ours.make_debug_cursor if ours.queries_logged else ours.make_cursor
    with ours.wrap_database_errors, psycopg.Cursor(ours.connection) as raw:
        yield make(raw)  # type: ignore[arg-type]  # typed for cursors that it does not make
