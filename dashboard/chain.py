"""What the chain page shows, put together from the instrument table, the calendar and the last snapshot.

`chain_page` only decides: everything it needs is handed in, so it is as testable as arithmetic. `views` fetches.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from dashboard import formats
from market.latest import Row, Snapshot

# From this price up a price needs eight characters, and the columns of prices are drawn wider.
WIDE_PRICE = 10_000


@dataclass(frozen=True, slots=True)
class Contract:
    """One option of the chain."""

    strike: float
    is_call: bool
    instrument_token: int
    lot_size: int


@dataclass(frozen=True, slots=True)
class Chain:
    """One underlying's options of one expiry that are followed."""

    underlying: str
    expiry: date
    exchange: str


@dataclass(frozen=True, slots=True)
class Expiry:
    """One choice in the row of expiries."""

    day: date
    label: str
    note: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Side:
    """One contract's cells, as text."""

    token: int | None
    ltp: str
    chg: str
    chg_sign: int | None
    bid: str
    ask: str
    iv: str
    dl: str
    ga: str
    th: str
    ve: str
    oi: str
    doi: str
    vol: str


@dataclass(frozen=True, slots=True)
class StrikeRow:
    """One strike: its call at the left, its put at the right."""

    strike: float
    label: str
    call: Side
    put: Side
    is_atm: bool
    in_the_money: str  # "itm-c", "itm-p", or "" while there is no spot
    is_first_above_spot: bool


@dataclass(frozen=True, slots=True)
class Header:
    """The figures over the grid that need no arithmetic over the chain."""

    spot: str
    change: str
    direction: str  # "up", "down" or ""
    future: str


@dataclass(frozen=True, slots=True)
class MarketSession:
    """The session that is going on or comes next. Unix seconds; `market_now` runs at `speed`, `system_now` is real."""

    system_now: float
    market_now: float
    speed: float
    opens_at: float | None
    closes_at: float | None

    @property
    def is_open(self) -> bool:
        return (
            self.opens_at is not None
            and self.closes_at is not None
            and self.opens_at <= self.market_now < self.closes_at
        )

    def as_json(self) -> dict[str, float | None]:
        return {
            "system_now": self.system_now,
            "market_now": self.market_now,
            "speed": self.speed,
            "opens_at": self.opens_at,
            "closes_at": self.closes_at,
        }


@dataclass(frozen=True, slots=True)
class ChainPage:
    """Everything the template needs about one chain."""

    chain: Chain
    title: str
    long_title: str
    expiries: Sequence[Expiry]
    underlyings: Sequence[Chain]
    followed: Sequence[Chain]
    rows: Sequence[StrikeRow]
    header: Header
    lot_size: int | None
    contracts: int
    source: str
    age_ms: float | None
    market_time: float | None
    wide_prices: bool = False
    spot_line_last: bool = False

    @property
    def has_prices(self) -> bool:
        return self.age_ms is not None


def chain_page(
    chain: Chain,
    contracts: Iterable[Contract],
    *,
    followed: Sequence[Chain],
    today: date,
    now: float,
    source: str,
    options: Snapshot | None = None,
    underlying: Snapshot | None = None,
) -> ChainPage:
    """Put the page together.

    Parameters
    ----------
    followed
        Every chain that is streamed, this one among them or not.
    now
        System time, unix seconds; the snapshot's age is counted to it.
    source
        What to say of the prices while there is no snapshot that says it itself.
    """
    contracts = list(contracts)
    quotes: Mapping[int, Row] = options.rows if options else {}
    cash = spot_row(underlying)
    spot = price_of(cash)
    by_strike: dict[float, dict[bool, Contract]] = {}
    for contract in contracts:
        by_strike.setdefault(contract.strike, {})[contract.is_call] = contract
    strikes = sorted(by_strike)
    cut = bisect_left(strikes, spot) if spot else None
    atm = nearest(strikes, spot) if spot else None
    rows = [
        StrikeRow(
            strike=strike,
            label=formats.strike(strike),
            call=side(by_strike[strike].get(True), quotes),
            put=side(by_strike[strike].get(False), quotes),
            is_atm=row == atm,
            in_the_money="" if cut is None else "itm-c" if row < cut else "itm-p",
            is_first_above_spot=row == cut,
        )
        for row, strike in enumerate(strikes)
    ]
    label = formats.short_date(chain.expiry, today=today)
    return ChainPage(
        chain=chain,
        title=f"{chain.underlying} {label}",
        long_title=f"{chain.underlying} {chain.expiry.day} {chain.expiry:%B %Y}",
        expiries=expiries_of(chain, followed, today=today),
        underlyings=nearest_per_underlying(followed),
        followed=followed,
        rows=rows,
        header=header(cash, underlying, chain.expiry),
        lot_size=contracts[0].lot_size if contracts else None,
        contracts=len(contracts),
        source=options.source if options else source,
        age_ms=options.age_ms(now) if options else None,
        market_time=options.market_time if options else None,
        wide_prices=bool(strikes) and strikes[-1] - strikes[0] >= WIDE_PRICE,
        spot_line_last=cut == len(strikes),
    )


def side(contract: Contract | None, quotes: Mapping[int, Row]) -> Side:
    """One contract's texts. What has not been quoted, or does not exist, is a dash."""
    row = quotes.get(contract.instrument_token, {}) if contract else {}
    change = row.get("change_percent")
    return Side(
        token=contract.instrument_token if contract else None,
        ltp=formats.price(row.get("last_price")),
        chg=formats.change(change),
        chg_sign=None if change is None else (change > 0) - (change < 0),
        bid=formats.price(row.get("bid")),
        ask=formats.price(row.get("ask")),
        iv=formats.percent(row.get("implied_volatility")),
        dl=formats.fixed(row.get("delta"), 2),
        ga=formats.fixed(row.get("gamma"), 4),
        th=formats.fixed(row.get("theta_per_day"), 1),
        ve=formats.fixed(row.get("vega_per_point"), 1),
        oi=formats.compact(row.get("oi")),
        doi=formats.compact_change(row.get("oi_day_change")),
        vol=formats.compact(row.get("volume_traded")),
    )


def spot_row(underlying: Snapshot | None) -> Row:
    """The cash row of an underlying's part; empty when there is none."""
    rows: Iterable[Row] = underlying.rows.values() if underlying else ()
    return next((row for row in rows if row.get("instrument_type") != "FUT"), {})


def price_of(row: Row) -> float | None:
    """Its last price; None for a price of 0, from which nothing may be drawn."""
    price: Any = row.get("last_price")
    return float(price) if price else None


def header(cash: Row, underlying: Snapshot | None, expiry: date) -> Header:
    """Spot, its change since yesterday's close, and the future that carries this expiry."""
    spot, close = price_of(cash), cash.get("close")
    change, direction = "", ""
    if spot and close:
        difference = spot - float(close)
        direction = "up" if difference > 0 else "down" if difference < 0 else ""
        arrow = {"up": "▲ ", "down": "▼ "}.get(direction, "")
        percent = formats.signed_grouped(difference / float(close) * 100)
        change = f"{arrow}{formats.grouped(abs(difference), 2)} ({percent}%)"
    futures = {
        row["expiry"]: row.get("last_price")
        for row in (underlying.rows.values() if underlying else ())
        if row.get("instrument_type") == "FUT" and row.get("expiry")
    }
    carrying = min((day for day in futures if day >= expiry.isoformat()), default=max(futures, default=None))
    return Header(
        spot=formats.grouped(spot, 2),
        change=change,
        direction=direction,
        future=formats.grouped(futures[carrying] if carrying else None, 2),
    )


def nearest(strikes: Sequence[float], spot: float) -> int | None:
    """Index of the strike nearest to the spot, the lower of two equally near ones; None without strikes."""
    return min(range(len(strikes)), key=lambda row: (abs(strikes[row] - spot), strikes[row]), default=None)


def expiries_of(chain: Chain, followed: Sequence[Chain], *, today: date) -> list[Expiry]:
    """The followed expiries of the chain's underlying, and its own, in order."""
    days = sorted({other.expiry for other in followed if other.underlying == chain.underlying} | {chain.expiry})
    return [
        Expiry(
            day=day,
            label=formats.short_date(day, today=today),
            note="today" if day == today else f"{(day - today).days} d",
            is_current=day == chain.expiry,
        )
        for day in days
    ]


def nearest_per_underlying(followed: Sequence[Chain]) -> list[Chain]:
    """For every followed underlying its nearest expiry, by name."""
    chosen: dict[str, Chain] = {}
    for chain in sorted(followed, key=lambda chain: (chain.underlying, chain.expiry)):
        chosen.setdefault(chain.underlying, chain)
    return list(chosen.values())


def market_session(
    *, system_now: float, market_now: datetime, speed: float, opens_at: datetime | None, closes_at: datetime | None
) -> MarketSession:
    """The session as the page counts it: unix seconds instead of moments."""
    return MarketSession(
        system_now=system_now,
        market_now=market_now.timestamp(),
        speed=speed,
        opens_at=opens_at.timestamp() if opens_at else None,
        closes_at=closes_at.timestamp() if closes_at else None,
    )
