"""What a trade costs besides its price: the virtual contract note. In rupees.

Rates as the broker and the exchanges publish them in 2026, rounded; they are for showing, no account is charged.
"""

from typing import Any

from simulator.instruments import Kind
from simulator.trading.listings import Listing
from simulator.trading.terms import Product, Side

_GST = 0.18
_SEBI = 1e-6
_BROKERAGE_SHARE, _MOST_BROKERAGE = 0.0003, 20.0


def charges(listing: Listing, product: Product, side: Side, quantity: int, price: int) -> dict[str, Any]:
    """The `charges` object for so many units at that price (paise)."""
    turnover = quantity * price / 100
    is_buy = side is Side.BUY
    is_delivery = listing.kind is Kind.EQUITY and product in {Product.CNC, Product.MTF}
    if listing.is_option:
        brokerage, tax, exchange, stamp = _MOST_BROKERAGE, 0 if is_buy else 0.001, 0.00035, 0.00003
    elif listing.kind is Kind.FUTURE:
        brokerage = min(turnover * _BROKERAGE_SHARE, _MOST_BROKERAGE)
        tax, exchange, stamp = 0 if is_buy else 0.0002, 0.0000173, 0.00002
    elif is_delivery:
        brokerage, tax, exchange, stamp = 0.0, 0.001, 0.0000297, 0.00015
    else:
        brokerage = min(turnover * _BROKERAGE_SHARE, _MOST_BROKERAGE)
        tax, exchange, stamp = 0 if is_buy else 0.00025, 0.0000297, 0.00003
    to_exchange, to_sebi = turnover * exchange, turnover * _SEBI
    gst = (brokerage + to_exchange + to_sebi) * _GST
    parts = {
        "transaction_tax": turnover * tax,
        "exchange_turnover_charge": to_exchange,
        "sebi_turnover_charge": to_sebi,
        "brokerage": brokerage,
        "stamp_duty": turnover * stamp if is_buy else 0.0,
    }
    return {
        **{name: round(amount, 4) for name, amount in parts.items()},
        "transaction_tax_type": "stt",
        "gst": {"igst": round(gst, 4), "cgst": 0, "sgst": 0, "total": round(gst, 4)},
        "total": round(sum(parts.values()) + gst, 4),
    }
