"""How the broker writes amounts and times."""

from datetime import datetime
from functools import lru_cache

from simulator.clock import IST


def rupees(paise: int) -> float:
    """A whole amount is a whole number, as the broker writes it."""
    return paise // 100 if paise % 100 == 0 else paise / 100


def ist(moment: float | None) -> str | None:
    """19 characters, Indian time without a zone; None for a moment that has not come."""
    return None if moment is None else _second(int(moment))


@lru_cache(maxsize=1_024)  # an order's rows are of few moments
def _second(moment: int) -> str:
    return datetime.fromtimestamp(moment, IST).isoformat(" ")[:19]
