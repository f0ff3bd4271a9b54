"""The terms on which options are priced: plain values, without Django. `market.underlying_pricing` looks them up."""

from dataclasses import dataclass
from enum import StrEnum


class UnderlyingSource(StrEnum):
    """What an option is priced on. The spot goes with Black–Scholes–Merton, the others with Black-76."""

    PARITY_FORWARD = "parity-forward"
    FUTURE = "future"
    SPOT = "spot"


class OptionPrice(StrEnum):
    """Which price stands for an option."""

    MIDDLE = "middle"
    """The middle of bid and ask where the book is good, else the last trade unless it is old."""
    LAST_PRICE = "last-price"
    """The last trade, unless it is old."""


@dataclass(frozen=True, slots=True)
class PricingTerms:
    """Rates per year as fractions, continuously compounded. Where the source has no price, the next one is taken."""

    rate: float = 0.10
    dividend_yield: float = 0.0
    underlying_source: UnderlyingSource = UnderlyingSource.PARITY_FORWARD
    option_price: OptionPrice = OptionPrice.MIDDLE
