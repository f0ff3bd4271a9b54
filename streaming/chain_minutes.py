"""Once a minute of market time, what each expiry's chain said last goes to `market`, which keeps it for good."""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import numpy as np
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from greeks.arrays import Floats
from market.models import ChainMinute
from streaming.analytics import Analysed, ChainAnalyser
from streaming.cancellation import raise_if_cancelled

logger = logging.getLogger(__name__)

MINUTE_SECONDS = 60
LOOK_SECONDS = 1.0


async def keep_minutes(
    analyser: ChainAnalyser,
    *,
    source: str,
    market_time: Callable[[], float],
    record: Callable[[Sequence[ChainMinute]], object],
    look_seconds: float = LOOK_SECONDS,
) -> None:
    """Run until cancelled. A minute that the database does not take is lost, and logged: the ticks go on."""
    minute = math.floor(market_time() / MINUTE_SECONDS)
    while True:
        await asyncio.sleep(look_seconds)
        now = math.floor(market_time() / MINUTE_SECONDS)
        if now == minute:
            continue
        ended, minute = minute, now
        found = [one for one in analyser.latest.values() if one.market_time >= ended * MINUTE_SECONDS]
        if not found:
            continue  # nothing was traded, as before the open
        rows = [minute_of(one, source, ended * MINUTE_SECONDS) for one in found]
        try:
            await database_sync_to_async(record)(rows)
        except DatabaseError as exc:
            logger.warning("the chains of one minute were not kept: %s", exc)
        raise_if_cancelled()


def minute_of(found: Analysed, source: str, begins: float) -> ChainMinute:
    """One expiry's row of the minute that begins at `begins` (market time, Unix seconds)."""
    chain, analytics = found.chain, found.analytics
    return ChainMinute(
        underlying=found.part.underlying,
        expiry=found.part.expiry,
        minute=datetime.fromtimestamp(begins, UTC),
        source=source,
        spot=_known(chain.spot),
        forward=_known(analytics.forward),
        atm_strike=_known(analytics.atm_strike),
        atm_implied_volatility=_known(analytics.atm_implied_volatility),
        skew_25_delta=_known(analytics.risk_reversal),
        butterfly_25_delta=_known(analytics.butterfly),
        straddle_price=_known(analytics.straddle.price),
        call_oi=_total(chain.call_oi),
        put_oi=_total(chain.put_oi),
        call_volume=_total(chain.call_volume),
        put_volume=_total(chain.put_volume),
        max_pain=_known(analytics.max_pain),
        net_gamma_exposure=_known(analytics.gamma_exposure.net),
        gamma_flip=_known(analytics.gamma_exposure.flip),
    )


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _total(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.sum()) if known.size else None
