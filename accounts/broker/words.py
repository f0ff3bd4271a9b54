"""The broker's own words for what an order, an instrument or a candle can be (Kite Connect v3 documentation)."""

from enum import StrEnum


class Exchange(StrEnum):
    NSE = "NSE"
    BSE = "BSE"
    NFO = "NFO"
    BFO = "BFO"
    CDS = "CDS"
    BCD = "BCD"
    MCX = "MCX"
    NCO = "NCO"
    NSEIX = "NSEIX"
    GLOBAL = "GLOBAL"
    INDICES = "INDICES"


class Variety(StrEnum):
    REGULAR = "regular"
    AMO = "amo"
    CO = "co"
    ICEBERG = "iceberg"
    AUCTION = "auction"


class TransactionType(StrEnum):
    BUY = "BUY"
    SELL = "SELL"


class Product(StrEnum):
    CNC = "CNC"
    NRML = "NRML"
    MIS = "MIS"
    MTF = "MTF"
    CO = "CO"
    BO = "BO"


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    SL = "SL"
    SL_M = "SL-M"


class Validity(StrEnum):
    DAY = "DAY"
    IOC = "IOC"
    TTL = "TTL"


class PositionType(StrEnum):
    DAY = "day"
    OVERNIGHT = "overnight"


class MarginSegment(StrEnum):
    EQUITY = "equity"
    COMMODITY = "commodity"


class Interval(StrEnum):
    MINUTE = "minute"
    MINUTES_3 = "3minute"
    MINUTES_5 = "5minute"
    MINUTES_10 = "10minute"
    MINUTES_15 = "15minute"
    MINUTES_30 = "30minute"
    MINUTES_60 = "60minute"
    DAY = "day"
