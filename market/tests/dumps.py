"""Instrument dumps made for tests, in the broker's form: twelve columns, CRLF."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import count

HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,"
    "expiry,strike,tick_size,lot_size,instrument_type,segment,exchange"
)
NEAR = date(2026, 12, 1)


@dataclass
class Row:
    """One line of a dump."""

    tradingsymbol: str
    token: int | str
    name: str = ""
    expiry: date | str = ""
    strike: float | str = 0.0
    tick_size: float | str = 0.05
    lot_size: int | str = 1
    kind: str = "EQ"
    segment: str = "NSE"
    exchange: str = "NSE"

    def __str__(self) -> str:
        exchange_token = int(self.token) >> 8 if str(self.token).isdecimal() else 0
        return (
            f"{self.token},{exchange_token},{self.tradingsymbol},{self.name},0.0,"
            f"{self.expiry},{self.strike},{self.tick_size},{self.lot_size},{self.kind},{self.segment},{self.exchange}"
        )


def dump(rows: Iterable[Row | str]) -> bytes:
    """A whole dump; text stands for a line as it is."""
    return "".join(f"{line}\r\n" for line in (HEADER, *map(str, rows))).encode()


def stock(name: str = "INFY", token: int = 408065) -> Row:
    return Row(name, token, name)


def index(tradingsymbol: str = "NIFTY 50", token: int = 256265) -> Row:
    return Row(tradingsymbol, token, tradingsymbol, tick_size=0, lot_size=0, segment="INDICES")


def option(
    name: str = "NIFTY", expiry: date = NEAR, strike: float = 24500, kind: str = "CE", token: int = 11_000_001
) -> Row:
    symbol = f"{name}{expiry:%y%m%d}{strike:g}{kind}"
    return Row(symbol, token, name, expiry, strike, 0.05, 75, kind, "NFO-OPT", "NFO")


def future(name: str = "NIFTY", expiry: date = NEAR, token: int = 12_000_001) -> Row:
    return Row(f"{name}{expiry:%y%b}FUT".upper(), token, name, expiry, 0.0, 0.1, 75, "FUT", "NFO-FUT", "NFO")


def market(options: int) -> Iterator[Row]:
    """An index, its futures, and `options` options over many underlyings, expiries and strikes."""
    tokens = count(20_000_000)
    yield index()
    yield stock()
    yield future()
    for number in range(options):
        name = f"STOCK{number // 1000}"
        expiry = NEAR + timedelta(days=7 * (number // 100 % 10))
        yield option(name, expiry, 1000 + 50 * (number // 2 % 50), "CE" if number % 2 else "PE", next(tokens))
