"""A cursor whose statements the database plans once a connection, for what every order asks.

Django's own cursors write the values into the text, so that the database parses and plans each statement anew: for a
claim or the limits that takes longer than carrying it out.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from django.db import connection
from django.db.backends.utils import CursorWrapper


@contextmanager
def prepared_cursor() -> Iterator[CursorWrapper]:
    """A cursor of Django's connection, in its transaction and with its errors.

    Values are bound by the server: a bare `%s` whose type nothing tells has to be cast.
    """
    connection.ensure_connection()
    make = connection.make_debug_cursor if connection.queries_logged else connection.make_cursor
    with connection.wrap_database_errors, psycopg.Cursor(connection.connection) as raw:
        yield make(raw)  # type: ignore[arg-type]  # typed for cursors that it does not make
