"""What an order is held against, gathered: the account, the instrument, the market's hours and its price."""

from datetime import UTC, datetime, timedelta

from django.conf import settings

from accounts import clock
from accounts.broker.words import Validity, Variety
from accounts.clock import IST
from accounts.models import BrokerSession, TradingAccount
from market import calendar
from market.exceptions import CalendarMissing, PricesUnavailable
from market.freeze_quantities import freeze_quantity
from market.models import Instrument
from market.prices import MarketPrice, price_of
from orders.requests import AT_MARKET, OrderRequest
from orders.states import PLACING, Operation
from orders.validation import Facts, Hours

LONGEST_VALIDITY = timedelta(days=1)
# What no session ends: an order for the next one, or on a day that nobody has entered.
VALID_WITHOUT_SESSION = timedelta(minutes=15)


def facts_of(account: TradingAccount, request: OrderRequest) -> Facts:
    """What is known of account, instrument and market now."""
    instrument = (
        Instrument.objects.active().filter(exchange=request.exchange, tradingsymbol=request.tradingsymbol).first()
    )
    session = BrokerSession.objects.filter(account=account).first()
    return Facts(
        is_enabled=account.state == TradingAccount.State.ENABLED,
        is_trading=account.is_trading,
        is_logged_in=session is not None and session.is_live(clock.now()),
        kite_user_id=account.kite_user_id,
        instrument=instrument,
        freeze_quantity=freeze_quantity(instrument, clock.today()) if instrument else None,
        hours=_hours(request.exchange),
        price=_price(instrument),
    )


def _hours(exchange: str) -> Hours:
    now = clock.now()
    try:
        session = calendar.session_of(exchange, calendar.SEGMENTS.get(exchange, ""), now.astimezone(IST).date())
    except CalendarMissing as exc:
        return Hours(None, f"{str(exc)[:1].upper()}{str(exc)[1:]}.")
    if session is None:
        return Hours(is_open=False, words=" today")
    if now < session.opens_at:
        return Hours(is_open=False, words=f" and opens at {session.opens_at.astimezone(IST):%H:%M}")
    if now >= session.closes_at:
        return Hours(is_open=False, words=f" since {session.closes_at.astimezone(IST):%H:%M}")
    return Hours(is_open=True)


def _price(instrument: Instrument | None) -> MarketPrice | None:
    if instrument is None:
        return None
    try:
        return price_of(instrument)
    except PricesUnavailable:
        return None


def valid_until(request: OrderRequest, valid_for: timedelta | None, operation: Operation = Operation.PLACE) -> datetime:
    """When an order may not be sent any more, in system time, by which workers go."""
    now = datetime.now(UTC)
    if valid_for is not None:
        return now + min(valid_for, LONGEST_VALIDITY)
    is_short = request.order_type in AT_MARKET or request.validity is Validity.IOC
    if is_short and operation in PLACING:
        return now + timedelta(seconds=settings.ORDER_MARKET_VALID_SECONDS)
    market_now = clock.now()
    try:
        segment = calendar.SEGMENTS.get(request.exchange, "")
        session = calendar.session_of(request.exchange, segment, market_now.astimezone(IST).date())
    except CalendarMissing:
        session = None
    if session is None or request.variety is Variety.AMO or market_now not in session:
        return now + VALID_WITHOUT_SESSION
    left: timedelta = (session.closes_at - market_now) / settings.MARKET_CLOCK_SPEED
    return now + min(left, LONGEST_VALIDITY)
