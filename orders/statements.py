"""Holdings and funds: asked of the broker when somebody looks, and kept for when it does not answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models.functions import Now

from accounts.broker import portfolio_client
from accounts.exceptions import BrokerError, CredentialError
from accounts.models import TradingAccount
from orders.models import PortfolioReading
from orders.reading_times import database_now

KEPT_SECONDS = 10.0

# What is money or a price goes as text, so that nobody's floats change it; quantities stay whole numbers.
_HOLDING_TEXTS = ("exchange", "tradingsymbol", "isin", "product", "collateral_type")
_HOLDING_QUANTITIES = (
    "quantity",
    "used_quantity",
    "t1_quantity",
    "realised_quantity",
    "authorised_quantity",
    "opening_quantity",
    "short_quantity",
    "collateral_quantity",
)
_HOLDING_AMOUNTS = ("average_price", "last_price", "close_price", "pnl", "day_change", "day_change_percentage")
_SEGMENTS = ("equity", "commodity")


@dataclass(frozen=True, slots=True)
class Statement:
    """`content` as the broker said at `read_at`. `failure` says why it is not newer; empty if it is of this moment."""

    content: Any
    read_at: datetime
    age_seconds: float
    failure: str = ""


def holdings(account: TradingAccount) -> Statement:
    """Shares in the demat account, one row each.

    Raises
    ------
    BrokerError, CredentialError
        The broker does not answer, and never has.
    """
    return _statement(account, "holdings", lambda: [_holding(row) for row in portfolio_client(account).holdings()])


def funds(account: TradingAccount) -> Statement:
    """Cash and margins by segment, amounts as text. Raises as `holdings` does."""

    def ask() -> dict[str, Any]:
        answer = portfolio_client(account).funds()
        return {segment: _plain(answer[segment]) for segment in _SEGMENTS if isinstance(answer.get(segment), Mapping)}

    return _statement(account, "funds", ask)


def _statement(account: TradingAccount, name: str, ask: Callable[[], Any]) -> Statement:
    reading, _ = PortfolioReading.objects.get_or_create(account=account)
    kept = _kept(reading, name)
    if kept is not None and kept.age_seconds <= KEPT_SECONDS:
        return kept
    try:
        content = ask()
        if kept is not None and kept.content and not content:
            # A dead token may still be answered, with nothing in it.
            portfolio_client(account).profile()
    except (BrokerError, CredentialError) as exc:
        if kept is None:
            raise
        return Statement(kept.content, kept.read_at, kept.age_seconds, str(exc))
    PortfolioReading.objects.filter(pk=reading.pk).update(**{name: content, f"{name}_read_at": Now()})
    return Statement(content, database_now(), 0.0)


def _kept(reading: PortfolioReading, name: str) -> Statement | None:
    read_at = getattr(reading, f"{name}_read_at")
    if read_at is None:
        return None
    return Statement(getattr(reading, name), read_at, (database_now() - read_at).total_seconds())


def _holding(row: Mapping[str, Any]) -> dict[str, Any]:
    return (
        {name: str(row.get(name) or "") for name in _HOLDING_TEXTS}
        | {name: _whole(row.get(name)) for name in _HOLDING_QUANTITIES}
        | {name: _amount(row.get(name)) for name in _HOLDING_AMOUNTS}
    )


def _whole(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value == value and abs(value) < 2**53 else 0


def _amount(value: Any) -> str | None:
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        return None
    return f"{amount:f}" if amount.is_finite() and abs(amount) < 10**15 else None


def _plain(value: Any, levels: int = 3) -> Any:
    """Numbers as text, whatever else as it is; nothing deeper than the broker documents."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float):
        return _amount(value)
    if isinstance(value, Mapping) and levels:
        return {str(name)[:50]: _plain(one, levels - 1) for name, one in value.items()}
    return str(value)[:100]
