"""The day's price band of an instrument."""

from simulator.market import Market

_STOCK_BAND, _OPTION_BAND = 0.10, 0.20  # of the close and of the underlying's level


def circuit_limits(market: Market, row: int) -> tuple[int, int]:
    """Lowest and highest price of the day in paise, on the tick grid."""
    close, tick = int(market.packets[row]["close"]), int(market.universe.ticks[row])
    strike = float(market.universe.strikes[row])
    width = _OPTION_BAND * strike * 100 if strike else _STOCK_BAND * close
    lower, upper = (int((close + side * width) // tick * tick) for side in (-1, 1))
    return max(lower, tick), upper
