"""An answer about an option chain, cut to one strike, for the description of the interface."""

from typing import Any, Final

from drf_spectacular.utils import OpenApiExample


def _option(kind: str, token: int, middle: float, **greeks: float) -> dict[str, Any]:
    return {
        "tradingsymbol": f"NIFTY26D0124500{kind}",
        "instrument_token": token,
        "last_price": middle,
        "change_percent": -4.1,
        "bid": middle - 0.25,
        "bid_quantity": 65,
        "ask": middle + 0.25,
        "ask_quantity": 130,
        "volume_traded": 3_600_025,
        "oi": 1_500_005,
        "oi_day_change": 75_010,
        **greeks,
        "priced_at_middle": True,
        "greeks_reason": None,
        "age_ms": 140,
    }


CHAIN: Final[dict[str, Any]] = {
    "underlying": "NIFTY",
    "expiry": "2026-12-01",
    "exchange": "NFO",
    "lot_size": 65,
    "reason": None,
    "source": "live",
    "feed_state": "live",
    "market_time": 1795583520.0,
    "sent_at": 1795583520.0,
    "age_ms": 40,
    "stale": False,
    "pricing": {
        "model": "black-76",
        "underlying_source": "parity-forward",
        "underlying_price": 24530.5,
        "underlying_age_ms": 90,
        "spot": 24481.3,
        "future": 24530.0,
        "rate": 0.1,
        "dividend_yield": 0.0,
        "time_to_expiry": 0.02,
    },
    "strikes": [
        {
            "strike": 24500.0,
            "call": _option(
                "CE",
                11_000_066,
                210.5,
                implied_volatility=0.141199,
                delta=0.527757,
                gamma=0.000811,
                theta_per_day=-13.2655,
                vega_per_point=13.7762,
                rho_per_point=-0.0421,
            ),
            "put": _option(
                "PE",
                11_000_322,
                180.05,
                implied_volatility=0.141191,
                delta=-0.470244,
                gamma=0.000811,
                theta_per_day=-13.2731,
                vega_per_point=13.7762,
                rho_per_point=-0.036,
            ),
        }
    ],
    "analytics": None,
    "term_structure": None,
    "implied_volatility_history": None,
    "oi_since_last_session": None,
}

EXAMPLES: Final = [
    OpenApiExample("With strikes=0 and analytics=false", value=CHAIN, response_only=True),
]

_MINUTE: Final = {
    "time": "2026-11-25T10:15:00+0530",
    "spot": 24481.3,
    "forward": 24530.5,
    "atm_strike": 24550.0,
    "atm_implied_volatility": 0.1412,
    "straddle_price": 391.4,
    "skew_25_delta": 0.0231,
    "butterfly_25_delta": 0.0042,
    "call_oi": 98_112_300.0,
    "put_oi": 101_778_450.0,
    "max_pain": 24500.0,
    "time_to_expiry": 0.0164384,
}
HISTORY: Final[dict[str, Any]] = {
    "underlying": "NIFTY",
    "expiry": "2026-12-01",
    "exchange": "NFO",
    "source": "live",
    "interval": "minute",
    "from": "2026-11-25T10:15:00+05:30",
    "to": "2026-11-25T10:15:00+05:30",
    "columns": list(_MINUTE),
    "minutes": [list(_MINUTE.values())],
}

HISTORY_EXAMPLES: Final = [OpenApiExample("One minute", value=HISTORY, response_only=True)]
