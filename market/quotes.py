"""What instruments cost now: from the stream where it says so freshly, else from the broker, else from what was known.

The broker answers one such question a second and API key, for all programs together. So it is asked only for what the
stream does not carry, 500 instruments at a time, and its answers are kept: within `QUOTE_KEPT_SECONDS` they stand for
another call, and later for a broker that does not answer. Every quote says where it is from, and how old it is.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from operator import methodcaller
from typing import Any, Final, Literal

from django.conf import settings
from django.core.cache import cache
from redis.exceptions import RedisError

from accounts.broker.clients import MOST_QUOTES
from accounts.exceptions import BrokerError, CredentialError
from market.data_accounts import ask_any_account
from market.exceptions import InputInvalid, MarketError, PricesUnavailable, QuotesUnavailable
from market.instrument_cache import instruments_by_symbols
from market.models import Instrument
from market.prices import MarketPrice, prices_of

logger = logging.getLogger(__name__)

MOST_SYMBOLS: Final = 1000
# For how long an answer may stand in for a broker that is away, with its age on it.
REMEMBERED_SECONDS: Final = 12 * 3600
NOT_QUOTED: Final = "the broker has no quote of it"

Origin = Literal["stream", "broker"]


@dataclass(frozen=True, slots=True)
class Quote:
    """Prices in rupees, None where there is none; `age_seconds` since they were received, None where that is not known.

    `is_fresh`: of the stream as `MarketPrice` has it; of the broker, that it was asked just now.
    """

    instrument_token: int
    last_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    close: Decimal | None  # of the session before
    age_seconds: float | None
    is_fresh: bool
    source: str  # live | simulated | replay
    origin: Origin

    @classmethod
    def of_stream(cls, instrument: Instrument, price: MarketPrice) -> "Quote":
        return cls(
            instrument.instrument_token,
            price.last_price,
            price.bid,
            price.ask,
            price.close,
            price.age_seconds,
            price.is_fresh,
            price.source,
            "stream",
        )

    @property
    def age_or_endless(self) -> float:
        return float("inf") if self.age_seconds is None else self.age_seconds


@dataclass(frozen=True, slots=True)
class Quotes:
    """What was found, and by symbol why the rest was not."""

    found: Mapping[str, Quote]
    missing: Mapping[str, str]


def read_quotes(symbols: Sequence[str]) -> Quotes:
    """Quotes of instruments by `exchange:tradingsymbol`, in the order asked for.

    Raises
    ------
    InputInvalid
        If there are none or more than `MOST_SYMBOLS`, or some are not listed.
    QuotesUnavailable
        If nothing at all is known of any of them: the details say why.
    """
    instruments = _listed(symbols)
    known = _of_stream(instruments)
    asked = [symbol for symbol in instruments if symbol not in known or not known[symbol].is_fresh]
    missing: dict[str, str] = {}
    if asked:
        kept = _remembered({symbol: instruments[symbol] for symbol in asked})
        answered, missing = _of_broker({s: instruments[s] for s in asked if s not in kept or not kept[s].is_fresh})
        for symbol in asked:
            choices = [where[symbol] for where in (answered, kept, known) if symbol in where]
            if choices:
                known[symbol] = min(choices, key=lambda quote: (not quote.is_fresh, quote.age_or_endless))
    missing = {symbol: why for symbol, why in missing.items() if symbol not in known}
    if not known:
        raise QuotesUnavailable(details={"missing": missing})
    return Quotes({symbol: known[symbol] for symbol in instruments if symbol in known}, missing)


def quote_of_answer(instrument: Instrument, row: Mapping[str, Any], source: str) -> Quote:
    """One row of the broker's answer.

    Raises
    ------
    ValueError
        If it is not what the broker documents, or of another instrument.
    """
    try:
        if row["instrument_token"] != instrument.instrument_token:
            raise ValueError(f"it bears the token {row['instrument_token']}")
        depth, ohlc = row.get("depth") or {}, row.get("ohlc") or {}
        return Quote(
            instrument.instrument_token,
            last_price=_rupees(row["last_price"]),
            bid=_best(depth.get("buy")),
            ask=_best(depth.get("sell")),
            close=_rupees(ohlc.get("close")),
            age_seconds=0.0,
            is_fresh=True,
            source=source,
            origin="broker",
        )
    except (KeyError, TypeError, AttributeError, InvalidOperation) as exc:
        raise ValueError(f"it is not what the broker documents ({exc!r})") from exc


def _listed(symbols: Sequence[str]) -> dict[str, Instrument]:
    wanted = list(dict.fromkeys(symbols))
    if not 1 <= len(wanted) <= MOST_SYMBOLS:
        raise InputInvalid(details={"i": [f"Name 1 to {MOST_SYMBOLS:,} instruments, not {len(wanted):,}."]})
    found = instruments_by_symbols(wanted)
    unknown = [symbol for symbol in wanted if symbol not in found or not found[symbol].is_active]
    if unknown:
        raise InputInvalid(details={"i": [f"There is no instrument {symbol}." for symbol in unknown[:100]]})
    return {symbol: found[symbol] for symbol in wanted}


def _of_stream(instruments: Mapping[str, Instrument]) -> dict[str, Quote]:
    try:
        prices = prices_of(instruments.values())
    except PricesUnavailable:
        return {}  # then the broker is asked for everything
    return {
        symbol: Quote.of_stream(instrument, prices[instrument.pk])
        for symbol, instrument in instruments.items()
        if instrument.pk in prices
    }


def _of_broker(instruments: Mapping[str, Instrument]) -> tuple[dict[str, Quote], dict[str, str]]:
    """What the broker says, and why it does not say the rest. Two calls at most, each within budget or not at all."""
    found: dict[str, Quote] = {}
    missing: dict[str, str] = {}
    symbols = list(instruments)
    for batch in (symbols[start : start + MOST_QUOTES] for start in range(0, len(symbols), MOST_QUOTES)):
        try:
            rows = ask_any_account(methodcaller("quote", batch)).answer
        except (BrokerError, CredentialError, MarketError) as exc:
            logger.warning("no quotes of %d instruments from the broker: %s", len(batch), exc)
            missing |= dict.fromkeys(batch, str(exc))
            continue
        for symbol in batch:
            if symbol not in rows:
                missing[symbol] = NOT_QUOTED
                continue
            try:
                found[symbol] = quote_of_answer(instruments[symbol], rows[symbol], settings.FEED_SOURCE)
            except ValueError as exc:
                logger.warning("the broker's quote of %s is not used: %s", symbol, exc)
                missing[symbol] = f"the broker's quote is not used: {exc}"
    _remember(found)
    return found, missing


def _key(symbol: str) -> str:
    return "market:quote:" + symbol.replace(" ", "_")


def _remember(found: Mapping[str, Quote]) -> None:
    if not found:
        return
    now = time.time()
    try:
        cache.set_many({_key(symbol): (now, quote) for symbol, quote in found.items()}, REMEMBERED_SECONDS)
    except RedisError as exc:
        logger.warning("quotes are not kept: Redis did not answer (%s)", exc)


def _remembered(instruments: Mapping[str, Instrument]) -> dict[str, Quote]:
    """What the broker said of them before, as old as it is by now."""
    try:
        kept = cache.get_many([_key(symbol) for symbol in instruments])
    except RedisError:
        return {}
    now, found = time.time(), {}
    for symbol, instrument in instruments.items():
        if (entry := kept.get(_key(symbol))) is not None:
            at, quote = entry
            if quote.instrument_token == instrument.instrument_token:  # else of a token's former bearer
                age = max(0.0, now - at)
                found[symbol] = replace(quote, age_seconds=age, is_fresh=age <= settings.QUOTE_KEPT_SECONDS)
    return found


def _best(levels: Iterable[Mapping[str, Any]] | None) -> Decimal | None:
    """The price of the first level; an index has none, and an empty level is all zeros."""
    return next((_rupees(level["price"]) for level in levels or ()), None)


def _rupees(value: Any) -> Decimal | None:
    """None for 0, which is the broker's word for none."""
    if value is None or isinstance(value, bool):
        return None
    price = Decimal(str(value))
    return price if price.is_finite() and price != 0 else None
