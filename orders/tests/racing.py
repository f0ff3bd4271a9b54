"""Two at once, in a fixed order: somebody else's work done between two statements of the code under test."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection


@contextmanager
def right_after(statement: str, act: Callable[[], object]) -> Iterator[None]:
    """Let `act` happen once, right after the first SQL statement that contains `statement`.

    Raises
    ------
    AssertionError
        No such statement was executed, so nothing was tested.
    """
    happened = False

    def wrapper(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal happened
        result = execute(sql, params, many, context)
        if statement in sql and not happened:
            happened = True
            act()
        return result

    with connection.execute_wrapper(wrapper):
        yield
    assert happened, f"no statement contains {statement!r}"
