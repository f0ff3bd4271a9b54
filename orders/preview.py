"""What an order would need and whether it would be taken, without storing anything."""

import logging
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from accounts.broker import orders_client, portfolio_client
from accounts.broker.words import Exchange
from accounts.exceptions import BrokerError, CredentialError
from accounts.models import TradingAccount
from orders.requests import OrderRequest
from orders.submit import Examined, examine
from orders.validation import IN_LOTS, is_valid, notional

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cost:
    """In rupees, as the broker reckons; None where it did not say, and `message` says why."""

    margin_required: Decimal | None = None
    margin_available: Decimal | None = None
    charges: Decimal | None = None
    message: str = ""


def preview(account: TradingAccount, request: OrderRequest) -> dict[str, Any]:
    """The checks of an order in words, and what it would cost by the broker's own reckoning.

    A broker that does not answer costs the figures, never the answer.
    """
    examined = examine(account, request)
    cost = _cost(account, request) if examined.facts.is_logged_in and examined.facts.instrument else Cost()
    worth = notional(request, examined.facts.price)
    lot = _lot(examined)
    return {
        "would_be_accepted": is_valid(examined.checks),
        "checks": [check.as_json() for check in examined.checks],
        "quantity": request.quantity,
        "lots": request.quantity // lot if lot else None,
        "lot_size": lot,
        "notional": _text(None if worth is None else _rupees(worth)),
        "margin_required": _text(cost.margin_required),
        "margin_available": _text(cost.margin_available),
        "charges": _text(cost.charges),
        "margin_message": cost.message,
        "price": examined.facts.price.as_json() if examined.facts.price else None,
    }


def _cost(account: TradingAccount, request: OrderRequest) -> Cost:
    asked = _as_broker_asks(request)
    segment = "commodity" if request.exchange is Exchange.MCX else "equity"
    try:
        (margin,) = orders_client(account).margins([asked])
        funds = portfolio_client(account).funds()
        return Cost(
            margin_required=_rupees(margin["total"]),
            margin_available=_rupees(funds[segment]["net"]),
            charges=_rupees(margin.get("charges", {}).get("total")),
        )
    except (BrokerError, CredentialError) as exc:
        return Cost(message=f"Kite did not reckon the margin: {exc}")
    except (KeyError, TypeError, ValueError, ArithmeticError) as exc:
        logger.warning("the broker's margin cannot be read: %r", exc)
        return Cost(message="Kite's answer about the margin cannot be read.")


def _as_broker_asks(request: OrderRequest) -> dict[str, Any]:
    return {
        "exchange": str(request.exchange),
        "tradingsymbol": request.tradingsymbol,
        "transaction_type": str(request.transaction_type),
        "variety": str(request.variety),
        "product": str(request.product),
        "order_type": str(request.order_type),
        "quantity": request.quantity,
        "price": float(request.price or 0),
        "trigger_price": float(request.trigger_price or 0),
    }


def _lot(examined: Examined) -> int | None:
    instrument = examined.facts.instrument
    if instrument is None:
        return None
    return 1 if examined.request.exchange in IN_LOTS else instrument.lot_size or None


def _rupees(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value)).quantize(Decimal("0.01"))


def _text(value: Decimal | None) -> str | None:
    return None if value is None else f"{value:f}"
