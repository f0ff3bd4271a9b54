"""From an underlying and an expiry to the answer about its chain: one query for the contracts, one read for the prices.
Its past is one query more.

The term structure and what the history says take three queries more, whose results are kept for a while.
"""

import math
import time
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from typing import Any, Final

from django.conf import settings

from accounts import clock
from accounts.clock import IST
from accounts.exceptions import NotFound
from accounts.kept import kept
from greeks.history import iv_percentile, iv_rank
from market import chain_history
from market.calendar import SEGMENTS, current
from market.candle_series import CandleInterval
from market.exceptions import CalendarMissing
from market.latest import Row, read
from market.models import OPTION_TYPES, Instrument
from market.names import part_of
from market.option_chain import Contract, Wanted, analytics, priced, quotes_answer
from market.underlying_pricing import terms_of
from market.underlyings import canonical_name

KEPT_SECONDS: Final = 60
# Days that are over do not change, and to read a year of them takes the database half a second.
DAYS_KEPT_SECONDS: Final = 600
_COLUMNS: Final = ("strike", "instrument_type", "tradingsymbol", "instrument_token", "exchange", "lot_size")


def read_chain(underlying: str, expiry: date, wanted: Wanted) -> dict[str, Any]:
    """The answer about one expiry of an underlying's options.

    Raises
    ------
    NotFound
        If no such options are listed.
    PricesUnavailable
        If the current prices cannot be read.
    """
    name = canonical_name(underlying)
    rows = list(Instrument.objects.chain(name, expiry).values_list(*_COLUMNS))
    if not rows:
        raise NotFound(f"There are no options on {name} that expire on {expiry}.")
    contracts = [Contract(float(row[0]), row[1] == "CE", row[2], row[3]) for row in rows]
    part, cash_part = part_of(name, expiry), part_of(name, None)
    expiries = kept(f"expiries:{name}", lambda: _living_expiries(name), KEPT_SECONDS) if wanted.analytics else []
    (options, cash), lines = read([part, cash_part], analytics=[part_of(name, day) for day in expiries])
    terms = terms_of(name) if wanted.overrides else None  # the stream's own numbers need no terms
    chain = priced(options, cash, expiry, wanted, terms) if options else None
    answer: dict[str, Any] = {"underlying": name, "expiry": expiry, "exchange": rows[0][4], "lot_size": rows[0][5]}
    answer |= quotes_answer(contracts, chain, wanted, now=time.time(), stale_seconds=settings.STREAM_STALE_SECONDS)
    answer |= dict.fromkeys(("analytics", "term_structure", "implied_volatility_history", "oi_since_last_session"))
    if wanted.analytics and chain and chain.pricing:
        answer["analytics"] = found = analytics(chain)
        structure = term_structure(expiry, found, dict(zip(expiries, lines, strict=True)))
        answer["term_structure"] = structure
        answer["implied_volatility_history"] = volatility_history(name, chain.options.source, structure)
        answer["oi_since_last_session"] = oi_since_last_session(name, expiry, chain.options.source, found["totals"])
    return answer


def read_history(
    underlying: str, expiry: date, *, source: str, start: datetime, end: datetime, interval: CandleInterval
) -> dict[str, Any]:
    """The answer about the past of one chain: of each interval the last minute that was kept, in order of time.

    Raises
    ------
    NotFound
        If such options were never listed.
    """
    name = canonical_name(underlying)
    options = Instrument.objects.filter(name=name, expiry=expiry, instrument_type__in=OPTION_TYPES)
    exchange = options.values_list("exchange", flat=True).first()
    if exchange is None:
        raise NotFound(f"There are no options on {name} that expire on {expiry}.")
    step = timedelta(minutes=interval.minutes) if interval.minutes else timedelta(days=1)
    origin = _step_begins(exchange, start, interval)
    rows = chain_history.history(name, expiry, source, start, end, step=step, origin=origin)
    return {
        "underlying": name,
        "expiry": expiry,
        "exchange": exchange,
        "source": source,
        "interval": interval.value,
        "from": start,
        "to": end,
        "columns": ("time", *chain_history.HISTORY),
        "minutes": [(f"{row[0].astimezone(IST):%Y-%m-%dT%H:%M:%S%z}", *row[1:]) for row in rows],
    }


def _step_begins(exchange: str, start: datetime, interval: CandleInterval) -> datetime:
    """Days begin at midnight in India; what is shorter is counted from a session's opening, as candles are."""
    midnight = datetime.combine(start.astimezone(IST).date(), time_of_day(), IST)
    if interval is CandleInterval.DAY:
        return midnight
    try:
        return current().next_session(exchange, SEGMENTS.get(exchange, ""), midnight).opens_at
    except CalendarMissing:
        return midnight


def _living_expiries(name: str) -> list[date]:
    return Instrument.objects.expiries(name, since=clock.today())


def term_structure(expiry: date, found: Mapping[str, Any], lines: Mapping[date, Row | None]) -> list[dict[str, Any]]:
    """At-the-money volatility by expiry, nearest first: this one as just found, the others as the stream last said."""
    known: dict[date, Mapping[str, Any]] = {day: line["analytics"] for day, line in lines.items() if line}
    known[expiry] = found
    names = ("time_to_expiry", "forward", "atm_implied_volatility")
    return [{"expiry": day, **{name: known[day].get(name) for name in names}} for day in sorted(known)]


def volatility_history(name: str, source: str, structure: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where today's volatility of thirty days stands among those of the past year's sessions."""
    expiries = [
        (entry["time_to_expiry"], entry["atm_implied_volatility"])
        for entry in structure
        if entry["time_to_expiry"] is not None and entry["atm_implied_volatility"] is not None
    ]
    current = chain_history.monthly_volatility(expiries)
    today = clock.today()
    past = kept(
        f"iv:{name}:{source}:{today}", lambda: chain_history.daily_atm_iv(name, source, before=today), DAYS_KEPT_SECONDS
    )
    values = [volatility for _, volatility in past]
    return {
        "maturity_days": chain_history.MATURITY_DAYS,
        "implied_volatility": _or_none(current, 6),
        "days": len(values),
        "rank": _or_none(float(iv_rank(current, values)), 2),
        "percentile": _or_none(float(iv_percentile(current, values)), 2),
    }


def oi_since_last_session(
    name: str, expiry: date, source: str, totals: Mapping[str, float | None]
) -> dict[str, Any] | None:
    """By how much all calls and all puts have changed since the session before; None if none was recorded."""
    today = clock.today()
    # An empty answer is kept too, which the cache could not tell from none.
    then = kept(
        f"oi:{name}:{expiry}:{source}:{today}",
        lambda: chain_history.last_session(name, expiry, source, before=today) or {},
        DAYS_KEPT_SECONDS,
    )
    if not then:
        return None
    changes = {
        f"{side}_oi_change": None if (now := totals[f"{side}_oi"]) is None else now - then[f"{side}_oi"]
        for side in ("call", "put")
    }
    return {"date": then["date"], **changes}


def _or_none(value: float, decimals: int) -> float | None:
    return round(value, decimals) if math.isfinite(value) else None
