"""What is traded here: four indices and sixty shares of the National Stock Exchange."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Underlying:
    """One index or share and the terms of its derivatives.

    `name` is what derivatives carry in the dump's name column, `tradingsymbol` the cash instrument's own. `level` is
    the price around which the simulated market moves; `volatility` is yearly, as a fraction; `beta` the correlation of
    its moves with the whole market. Ticks are in paise. `strike_step` is in rupees and `wing` the number of strikes
    listed on each side. `derivatives` is the exchange of its futures and options. `liquidity` is 1 for the busiest.
    """

    name: str
    tradingsymbol: str
    full_name: str
    exchange: str
    exchange_token: int
    level: float
    volatility: float
    beta: float
    lot_size: int
    future_tick: int
    strike_step: float
    wing: int
    derivatives: str
    is_index: bool
    has_weeklies: bool
    liquidity: float


INDEX_SEGMENT, NSE_SEGMENT = 9, 1  # low byte of an instrument_token
# Lots of the series since January 2026; future ticks by the exchanges' scale of index levels since April 2025.
INDICES = (
    Underlying(
        name="NIFTY",
        tradingsymbol="NIFTY 50",
        full_name="NIFTY 50",
        exchange="NSE",
        exchange_token=1001,
        level=26_000,
        volatility=0.125,
        beta=0.98,
        lot_size=65,
        future_tick=10,
        strike_step=50,
        wing=78,
        derivatives="NFO",
        is_index=True,
        has_weeklies=True,
        liquidity=1.0,
    ),
    Underlying(
        name="BANKNIFTY",
        tradingsymbol="NIFTY BANK",
        full_name="NIFTY BANK",
        exchange="NSE",
        exchange_token=1016,
        level=59_000,
        volatility=0.145,
        beta=0.93,
        lot_size=30,
        future_tick=20,
        strike_step=100,
        wing=88,
        derivatives="NFO",
        is_index=True,
        has_weeklies=False,
        liquidity=0.6,
    ),
    Underlying(
        name="FINNIFTY",
        tradingsymbol="NIFTY FIN SERVICE",
        full_name="NIFTY FIN SERVICE",
        exchange="NSE",
        exchange_token=1007,
        level=27_500,
        volatility=0.14,
        beta=0.93,
        lot_size=60,
        future_tick=10,
        strike_step=50,
        wing=78,
        derivatives="NFO",
        is_index=True,
        has_weeklies=False,
        liquidity=0.15,
    ),
    Underlying(
        name="SENSEX",
        tradingsymbol="SENSEX",
        full_name="SENSEX",
        exchange="BSE",
        exchange_token=1,
        level=85_000,
        volatility=0.12,
        beta=0.975,
        lot_size=20,
        future_tick=5,
        strike_step=100,
        wing=102,
        derivatives="BFO",
        is_index=True,
        has_weeklies=True,
        liquidity=0.7,
    ),
)

# Symbol, name, exchange token, price, lot of the 2025 series. Lots are revised twice a year: take them from the dump.
_SHARES = """
RELIANCE|RELIANCE INDUSTRIES|2885|1540|500
TCS|TATA CONSULTANCY SERV LT|11536|3120|175
INFY|INFOSYS|1594|1530|400
HDFCBANK|HDFC BANK|1333|1005|550
ICICIBANK|ICICI BANK|4963|1385|700
SBIN|STATE BANK OF INDIA|3045|975|750
AXISBANK|AXIS BANK|5900|1270|625
KOTAKBANK|KOTAK MAHINDRA BANK|1922|2090|400
ITC|ITC|1660|405|1600
LT|LARSEN & TOUBRO|11483|4030|175
HINDUNILVR|HINDUSTAN UNILEVER|1394|2420|300
BHARTIARTL|BHARTI AIRTEL|10604|2110|475
ASIANPAINT|ASIAN PAINTS|236|2860|250
MARUTI|MARUTI SUZUKI INDIA|10999|15900|50
BAJFINANCE|BAJAJ FINANCE|317|1010|750
TITAN|TITAN COMPANY|3506|3880|175
SUNPHARMA|SUN PHARMACEUTICAL IND L|3351|1790|350
WIPRO|WIPRO|3787|248|3000
ULTRACEMCO|ULTRATECH CEMENT|11532|11750|50
NESTLEIND|NESTLE INDIA|17963|1260|500
POWERGRID|POWER GRID CORP|14977|276|1900
NTPC|NTPC|11630|327|1500
ONGC|OIL AND NATURAL GAS CORP|2475|247|2250
TATASTEEL|TATA STEEL|3499|172|5500
JSWSTEEL|JSW STEEL|11723|1165|675
HCLTECH|HCL TECHNOLOGIES|7229|1610|350
TECHM|TECH MAHINDRA|13538|1500|600
ADANIENT|ADANI ENTERPRISES|25|2330|300
ADANIPORTS|ADANI PORT & SEZ|15083|1500|475
COALINDIA|COAL INDIA|20374|378|1350
GRASIM|GRASIM INDUSTRIES|1232|2730|250
HINDALCO|HINDALCO INDUSTRIES|1363|795|700
CIPLA|CIPLA|694|1525|375
DRREDDY|DR REDDY S LABORATORIES|881|1245|625
DIVISLAB|DIVI S LABORATORIES|10940|6480|100
EICHERMOT|EICHER MOTORS|910|7150|100
HEROMOTOCO|HERO MOTOCORP|1348|5990|150
BAJAJFINSV|BAJAJ FINSERV|16675|2060|250
BAJAJ-AUTO|BAJAJ AUTO|16669|9080|75
BRITANNIA|BRITANNIA INDUSTRIES|547|5830|125
APOLLOHOSP|APOLLO HOSPITALS ENTER. L|157|7400|125
INDUSINDBK|INDUSIND BANK|5258|842|700
M&M|MAHINDRA & MAHINDRA|2031|3740|200
SBILIFE|SBI LIFE INSURANCE CO|21808|2020|375
HDFCLIFE|HDFC LIFE INS CO|467|768|1100
TATACONSUM|TATA CONSUMER PRODUCT|3432|1180|550
BPCL|BHARAT PETROLEUM CORP  LT|526|360|1975
UPL|UPL|11287|748|1355
SHRIRAMFIN|SHRIRAM FINANCE|4306|845|825
TRENT|TRENT|1964|4290|100
BEL|BHARAT ELECTRONICS|383|412|1425
DLF|DLF|14732|724|825
GAIL|GAIL (INDIA)|4717|181|3150
VEDL|VEDANTA|3063|515|1150
PNB|PUNJAB NATIONAL BANK|10666|124|8000
BANKBARODA|BANK OF BARODA|4668|287|2925
IOC|INDIAN OIL CORP|1624|164|4875
CANBK|CANARA BANK|10794|148|6750
ETERNAL|ETERNAL|5097|301|2425
360ONE|360 ONE WAM|13061|1120|500
"""

# The National Stock Exchange's tick scale for shares (since April 2025): up to this price (rupees), this tick (paise).
_TICKS = ((250, 1), (1_000, 5), (5_000, 10), (10_000, 50), (20_000, 100), (float("inf"), 500))
_STRIKE_STEPS = (1, 2.5, 5, 10, 20, 50, 100, 200)
_SHARE_WING = 30
_STRIKES_PER_STEP = 0.008  # of the price: about 60 strikes then span ±25 %


def _share(position: int, line: str) -> Underlying:
    symbol, full_name, exchange_token, price, lot_size = line.split("|")
    level = float(price)
    return Underlying(
        name=symbol,
        tradingsymbol=symbol,
        full_name=full_name,
        exchange="NSE",
        exchange_token=int(exchange_token),
        level=level,
        volatility=0.20 + 0.012 * (position * 7 % 13),
        beta=0.35 + 0.025 * (position * 5 % 11),
        lot_size=int(lot_size),
        future_tick=next(tick for limit, tick in _TICKS if level < limit),
        strike_step=next(step for step in _STRIKE_STEPS if step >= level * _STRIKES_PER_STEP),
        wing=_SHARE_WING,
        derivatives="NFO",
        is_index=False,
        has_weeklies=False,
        liquidity=0.12 / (1 + position / 12),
    )


def _shares() -> Iterable[Underlying]:
    return (_share(position, line) for position, line in enumerate(_SHARES.strip().splitlines()))


# The position in this tuple is part of every derivative's token (simulator.instruments): append, never reorder.
UNDERLYINGS: tuple[Underlying, ...] = (*INDICES, *_shares())
