"""Whether the database keeps what it has committed. The mark before an order is worth nothing where it does not.

A server that loses its last transactions in a crash turns "may have been sent" into "was not sent", and the order goes
out a second time.
"""

import logging
from functools import lru_cache

from django.conf import settings
from django.db import connection

logger = logging.getLogger(__name__)


def problems() -> list[str]:
    """Each setting of the database's server, as this connection has it, under which commits can be lost."""
    with connection.cursor() as cursor:
        cursor.execute("select current_setting('fsync'), current_setting('synchronous_commit')")
        fsync, synchronous_commit = cursor.fetchone()
    found = []
    if fsync != "on":
        found.append(f"fsync is {fsync}: switch it on in PostgreSQL's configuration")
    if synchronous_commit == "off":
        found.append("synchronous_commit is off: leave it on for the service's role and database")
    return found


@lru_cache(maxsize=1)
def keeps_what_it_commits() -> bool:
    """Asked once a process: in production no order is sent where the answer is no."""
    found = problems()
    for problem in found:
        logger.critical("orders may be sent twice after a crash of the database: %s", problem)
    return not (found and settings.PRODUCTION)
