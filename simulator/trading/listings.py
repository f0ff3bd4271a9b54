"""The facts about one instrument that orders are checked and priced with."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from simulator.bands import circuit_limits
from simulator.instruments import Kind
from simulator.market import Market
from simulator.underlyings import UNDERLYINGS

# Units an order may have at most. The exchanges review them monthly and no API tells them; indices as of 2026.
_FREEZE: Mapping[str, int] = MappingProxyType(
    {
        "NIFTY": 1_800,
        "BANKNIFTY": 600,
        "FINNIFTY": 1_800,
        "MIDCPNIFTY": 2_800,
        "NIFTYNXT50": 600,
        "SENSEX": 1_000,
        "BANKEX": 900,
    }
)
_SHARE_DERIVATIVE_FREEZE_LOTS, _SHARE_FREEZE = 40, 500_000


@dataclass(frozen=True, slots=True)
class Listing:
    """One tradable instrument of today. Tick, strike and price band in paise."""

    row: int
    token: int
    exchange: str
    tradingsymbol: str
    kind: Kind
    is_on_index: bool
    lot_size: int
    tick: int
    freeze_quantity: int
    strike: int
    lower_circuit: int
    upper_circuit: int

    @property
    def is_derivative(self) -> bool:
        return self.kind >= Kind.FUTURE

    @property
    def is_option(self) -> bool:
        return self.kind >= Kind.CALL

    def on_tick(self, price: float) -> int:
        """The nearest price that an order may have."""
        return int(min(max(round(price / self.tick) * self.tick, self.lower_circuit), self.upper_circuit))


class Listings:
    """The tradable instruments of one market, made as they are asked for."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self._known: dict[int, Listing] = {}

    def follow(self, market: Market) -> None:
        """A new day, on which a row may be another instrument."""
        self.market = market
        self._known.clear()

    def find(self, exchange: str, tradingsymbol: str) -> Listing | None:
        """None where nothing of that name is traded; an index is not."""
        row = self.market.universe.row_of_symbol.get(f"{exchange}:{tradingsymbol}")
        return None if row is None or self.market.is_index[row] else self._at(row)

    def _at(self, row: int) -> Listing:
        if (known := self._known.get(row)) is not None:
            return known
        contract = self.market.universe.contracts[row]
        lower, upper = circuit_limits(self.market, row)
        underlying = UNDERLYINGS[contract.underlying]
        listing = Listing(
            row=row,
            token=contract.token,
            exchange=contract.exchange,
            tradingsymbol=contract.tradingsymbol,
            kind=contract.kind,
            is_on_index=underlying.is_index,
            lot_size=contract.lot_size,
            tick=contract.tick,
            freeze_quantity=_freeze_quantity(contract.kind, underlying.name, contract.lot_size),
            strike=round(contract.strike * 100),
            lower_circuit=lower,
            upper_circuit=upper,
        )
        self._known[row] = listing
        return listing

    def last_price(self, listing: Listing) -> int:
        return int(self.market.packets["last_price"][listing.row])

    def close_price(self, listing: Listing) -> int:
        """Yesterday's."""
        return int(self.market.packets["close"][listing.row])


def _freeze_quantity(kind: Kind, underlying: str, lot_size: int) -> int:
    if kind is Kind.EQUITY:
        return _SHARE_FREEZE
    return _FREEZE.get(underlying, _SHARE_DERIVATIVE_FREEZE_LOTS * lot_size)
