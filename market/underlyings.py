"""What a derivative is written on: from the name in its contract to the instrument with the spot price, and back.

The broker's dump names the underlying of an index option by a short name (``NIFTY``) and the index itself by a long one
(``NIFTY 50``); nothing in the dump connects the two. For stocks both are the same word.
"""

from functools import lru_cache
from typing import Final, NamedTuple


class Symbol(NamedTuple):
    """The identity of an instrument."""

    exchange: str
    tradingsymbol: str

    def __str__(self) -> str:
        return f"{self.exchange}:{self.tradingsymbol}"


INDEX_SPOTS: Final[dict[str, Symbol]] = {
    "NIFTY": Symbol("NSE", "NIFTY 50"),
    "BANKNIFTY": Symbol("NSE", "NIFTY BANK"),
    "FINNIFTY": Symbol("NSE", "NIFTY FIN SERVICE"),
    "MIDCPNIFTY": Symbol("NSE", "NIFTY MID SELECT"),
    "NIFTYNXT50": Symbol("NSE", "NIFTY NEXT 50"),
    "SENSEX": Symbol("BSE", "SENSEX"),
    "BANKEX": Symbol("BSE", "BANKEX"),
}

# Which cash market carries the stock under a derivatives exchange's stock contracts.
_STOCK_EXCHANGES: Final = {"NFO": "NSE", "BFO": "BSE", "NSE": "NSE", "BSE": "BSE"}

# Other spellings in use, written as `_squeezed` leaves them.
_OTHER_NAMES: Final = {
    "NIFTY50": "NIFTY",
    "NIFTYMIDCAPSELECT": "MIDCPNIFTY",
    "BSESENSEX": "SENSEX",
    "BSEBANKEX": "BANKEX",
}


def spot_symbol(name: str, exchange: str = "NFO") -> Symbol | None:
    """The instrument whose price is the spot of contracts called `name` on `exchange`.

    None where there is none: commodities and currencies trade here as futures and options only.
    """
    if name in INDEX_SPOTS:
        return INDEX_SPOTS[name]
    cash = _STOCK_EXCHANGES.get(exchange)
    return Symbol(cash, name) if cash else None


# Names are few and asked for over and over; the bound is for those that clients make up.
@lru_cache(maxsize=10_000)
def canonical_name(text: str) -> str:
    """The name that contracts use for what a person calls `text`: ``nifty 50`` → ``NIFTY``, ``infy`` → ``INFY``.

    An exchange prefix is dropped. A name that is not known passes through in upper case: whether it exists is for the
    instrument table to say.
    """
    name = " ".join(text.upper().rpartition(":")[2].split())
    return _CANONICAL.get(_squeezed(name), name)


def _squeezed(name: str) -> str:
    return name.replace(" ", "").replace("-", "").replace("_", "")


_CANONICAL: Final = (
    {_squeezed(spot.tradingsymbol): name for name, spot in INDEX_SPOTS.items()}
    | {name: name for name in INDEX_SPOTS}
    | _OTHER_NAMES
)
