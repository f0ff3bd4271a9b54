"""What an order ticket has to know of a contract. Only decisions: the views fetch."""

from collections.abc import Mapping
from datetime import date
from typing import Any

from dashboard.blotter import contract_words
from market.freeze_quantities import freeze_quantity
from market.models import Instrument
from market.prices import MarketPrice
from orders.validation import IN_LOTS


def contract_of(instrument: Instrument, *, today: date) -> dict[str, Any]:
    """Terms of a contract for the ticket. Prices as decimal text; `lot_size` is 1 where the exchange counts in lots."""
    in_lots = instrument.exchange in IN_LOTS
    return {
        "exchange": instrument.exchange,
        "symbol": instrument.tradingsymbol,
        "token": instrument.instrument_token,
        "name": contract_words(instrument, today=today),
        "lot_size": 1 if in_lots else max(instrument.lot_size, 1),
        "tick_size": f"{instrument.tick_size:f}",
        "freeze": freeze_quantity(instrument, today),
        "is_derivative": instrument.expiry is not None,
    }


def quote_of(price: MarketPrice | None) -> Mapping[str, Any] | None:
    """What the ticket shows of a price; None where the stream does not carry it."""
    if price is None:
        return None
    prices = {"bid": price.bid, "last": price.last_price, "ask": price.ask}
    return {name: None if value is None else float(value) for name, value in prices.items()} | {
        "bids": [[float(level.price), level.quantity] for level in price.bids],
        "asks": [[float(level.price), level.quantity] for level in price.asks],
        "delta": price.delta,
        "age_seconds": price.age_seconds,
        "is_fresh": price.is_fresh,
        "source": price.source,
    }
