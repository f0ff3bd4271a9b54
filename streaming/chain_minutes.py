"""Once a minute of market time, what each expiry's chain said last goes to `market`, which keeps it."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from accounts.cancellation import raise_if_cancelled
from market.chain_history import ExpiryMinute
from streaming.analytics import ChainAnalyser

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60
LOOK_SECONDS = 1.0


async def keep_minutes(
    analyser: ChainAnalyser,
    *,
    source: str,
    market_time: Callable[[], float],
    record: Callable[[Sequence[ExpiryMinute]], object],
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Run until cancelled. A minute that the database does not take is lost, and logged: the ticks go on.

    Rows are made of the arrays by `record`, in a thread: a hundred expiries would hold up the ticks.
    """
    minute = math.floor(market_time() / MINUTE_SECONDS)
    while True:
        await asyncio.sleep(look_seconds)
        now = math.floor(market_time() / MINUTE_SECONDS)
        if now == minute:
            continue
        began, minute = minute * MINUTE_SECONDS, now
        rows = [
            ExpiryMinute(
                underlying=found.part.underlying,
                expiry=found.part.expiry,
                at=datetime.fromtimestamp(began, UTC),
                source=source,
                analytics=found.analytics,
                pricing=found.pricing,
                columns=found.columns,
            )
            for found in analyser.latest.values()
            if found.part.expiry is not None and found.market_time >= began
        ]
        if not rows:
            continue  # nothing changed, as before the open
        try:
            await database_sync_to_async(record)(rows)
        except DatabaseError as exc:
            logger.warning("the chains of one minute were not kept: %s", exc)
        raise_if_cancelled()
