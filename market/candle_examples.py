"""An answer about an option's candles, for the description of the interface."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample

from market.candle_greeks import COLUMNS as GREEKS_COLUMNS

_CANDLE: Final = {"time": "2026-11-25T10:15:00+0530", "open": 209.0, "high": 211.4, "low": 208.55, "close": 210.5}
_GREEKS: Final = dict.fromkeys(GREEKS_COLUMNS) | {
    "implied_volatility": 0.141199,
    "delta": 0.527757,
    "gamma": 0.000811,
    "theta_per_day": -13.2655,
    "vega_per_point": 13.7762,
    "rho_per_point": -0.0421,
    "underlying_price": 24530.5,
    "underlying_age_seconds": 0.0,
    "underlying_source": "parity-forward",
}
_ROW: Final = _CANDLE | {"volume": 36400} | _GREEKS

PRICED: Final[dict[str, Any]] = {
    "instrument": "NFO:NIFTY26D0124500CE",
    "interval": "minute",
    "from": "2026-11-25T10:15:00+05:30",
    "to": "2026-11-25T10:15:00+05:30",
    "continuous": False,
    "columns": list(_ROW),
    "missing": [],
    "age_seconds": 12.5,
    "greeks": {
        "underlying_source": "parity-forward",
        "rate": 0.1,
        "dividend_yield": 0.0,
        "expires_at": "2026-12-01T10:10:00+00:00",
        "spot": "NSE:NIFTY 50",
        "future": None,
        "missing": [],
    },
    "candles": [list(_ROW.values())],
}

EXAMPLES: Final = [OpenApiExample("An option's minute with greeks=true", value=PRICED, response_only=True)]
