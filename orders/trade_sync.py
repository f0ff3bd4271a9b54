"""Reading what an account has traded and holds: all of it or nothing, believed or doubted, and how old it is.

A reading that fails changes nothing but says so. One that is doubted (`orders.readings`) leaves the positions as they
are; only if a second one, `ORDER_DOUBT_SECONDS` later, is whole and has the same to say, and the broker then knows the
token's user, the broker is right and what was known is not.
"""

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from accounts import clock
from accounts.broker import orders_client, portfolio_client
from accounts.exceptions import BrokerError, CredentialError
from accounts.models import BrokerSession, TradingAccount
from market import calendar
from market.exceptions import CalendarMissing
from orders.book import read_book
from orders.broker_values import Unreadable
from orders.metrics import READINGS
from orders.models import PortfolioReading, Position, Trade
from orders.reading_times import database_now, is_wanted
from orders.readings import Known, doubts, key_of, positions_of, trades_of

logger = logging.getLogger(__name__)

LEAST_SECONDS = 3.0  # between two readings, however often one is wanted
AFTER_FAILURE_SECONDS = 10.0
AFTER_CLOSE = timedelta(minutes=10)  # the session's last fills, and what the broker closes by itself

_POSITION_FIELDS = [
    field.name
    for field in Position._meta.concrete_fields
    if field.name not in {"id", "account", "exchange", "tradingsymbol", "product"}
]


def accounts_due(*, waiting_seconds: float = 0.0) -> list[TradingAccount]:
    """Logged-in accounts whose portfolio should have been read so long ago, or now.

    Trading ones are read by the clock, others only when it is wanted.
    """
    sessions = BrokerSession.objects.filter(status=BrokerSession.Status.ACTIVE, expires_at__gt=clock.now())
    accounts = TradingAccount.objects.enabled().filter(pk__in=sessions.values("account"))
    found = list(accounts.select_related("app", "portfolio_reading"))
    if not found:
        return []
    now, in_session = database_now() - timedelta(seconds=waiting_seconds), is_session()
    return [one for one in found if is_due(_reading_of(one), now, by_clock=_by_clock(one, in_session))]


def is_due(reading: PortfolioReading | None, now: datetime, *, by_clock: bool) -> bool:
    """Whether it is time for a reading, after those that were tried: by the clock, or because one is wanted."""
    if reading is None or reading.tried_at is None:
        return by_clock or (reading is not None and reading.wanted_at is not None)
    since = (now - reading.tried_at).total_seconds()
    if is_wanted(reading):
        has_failed = reading.failed_at is not None and reading.failed_at >= reading.tried_at
        return since >= (AFTER_FAILURE_SECONDS if has_failed else LEAST_SECONDS)
    if reading.doubts:
        return since >= min(AFTER_FAILURE_SECONDS, float(settings.ORDER_DOUBT_SECONDS))
    return by_clock and since >= float(settings.ORDER_SYNC_SECONDS)


def is_outdated(account: TradingAccount) -> bool:
    """Whether the account's portfolio is known to have changed since it was read."""
    reading = PortfolioReading.objects.filter(account=account).first()
    return reading is not None and is_wanted(reading)


def is_session() -> bool:
    """Whether any market trades, or did a moment ago; what the calendar does not know counts as open."""
    now, days = clock.now(), calendar.current()
    for exchange, segment in calendar.SEGMENTS.items():
        try:
            if any(days.is_open(exchange, segment, at) for at in (now, now - AFTER_CLOSE)):
                return True
        except CalendarMissing:
            return True
    return False


def sync_if_due(account: TradingAccount) -> bool:
    """Read the account's portfolio unless another worker has just begun to. Whether it was read and believed."""
    reading, _ = PortfolioReading.objects.get_or_create(account=account)
    now = database_now()
    if not is_due(reading, now, by_clock=_by_clock(account, is_session())):
        return False
    mine = PortfolioReading.objects.filter(Q(tried_at=reading.tried_at), pk=reading.pk)
    if reading.tried_at is None:
        mine = PortfolioReading.objects.filter(tried_at=None, pk=reading.pk)
    return bool(mine.update(tried_at=Now())) and sync(account)


def sync(account: TradingAccount) -> bool:
    """Read order book, trades and positions, and take them over. Whether they were believed."""
    PortfolioReading.objects.get_or_create(account=account)
    try:
        book = read_book(account)
        # What happens from here on may be in the answers or not: it is not counted as seen.
        began = database_now()
        today = clock.today()
        trades = trades_of(orders_client(account).trades(), today)
        positions = positions_of(portfolio_client(account).positions())
        known = _known(account)
        found = doubts(known, positions, trades, today, lacks=book.lacks)
        if found:
            _check_token(account)
    except (BrokerError, CredentialError, Unreadable) as exc:
        return _note_failure(account, str(exc))
    if clock.today() != today:
        return _note_failure(account, "the day ended while it was read")
    with transaction.atomic():
        reading = PortfolioReading.objects.select_for_update().get(account=account)
        if reading.read_at is not None and reading.read_at >= began:
            return False  # a reading that began later has been taken over
        _keep_trades(account, trades)
        if found and not _has_lasted(reading, found, began):
            return _doubt(reading, found, began)
        if found:
            logger.error("%s: the broker's portfolio is believed after all: %s", account.kite_user_id, "; ".join(found))
        _keep_positions(account, positions, began)
        PortfolioReading.objects.filter(pk=reading.pk).update(
            trading_date=today, read_at=began, doubts=[], doubted_at=None, failed_at=None, failure=""
        )
    READINGS.labels("believed").inc()
    return True


def sync_due(*, waiting_seconds: float) -> None:
    """Every account that has been due for so long, one after the other: for where no workers are."""
    for account in accounts_due(waiting_seconds=waiting_seconds):
        sync_if_due(account)


def _by_clock(account: TradingAccount, in_session: bool) -> bool:
    """Trading accounts in a session, and once a day as soon as somebody has logged in."""
    if not account.is_trading:
        return False
    reading = _reading_of(account)
    return in_session or reading is None or reading.trading_date != clock.today()


def _reading_of(account: TradingAccount) -> PortfolioReading | None:
    return getattr(account, "portfolio_reading", None)


def _known(account: TradingAccount) -> Known:
    reading = PortfolioReading.objects.get(account=account)
    today = Trade.objects.filter(account=account, trading_date=clock.today())
    return Known(
        positions=list(Position.objects.filter(account=account)),
        trading_date=reading.trading_date,
        trades=set(today.values_list("exchange", "order_id", "trade_id")),
    )


def _check_token(account: TradingAccount) -> None:
    """A token that has died may still be answered, with nothing in the lists."""
    user_id = portfolio_client(account).profile().get("user_id")
    if user_id != account.kite_user_id:
        raise Unreadable(f"the broker takes the token for one of {str(user_id)[:20]!r}")


def _has_lasted(reading: PortfolioReading, found: list[str], began: datetime) -> bool:
    """Whether the broker has said the same for long enough, in two whole readings at least."""
    if reading.doubts != found or reading.doubted_at is None:
        return False
    return began - reading.doubted_at >= timedelta(seconds=settings.ORDER_DOUBT_SECONDS)


def _doubt(reading: PortfolioReading, found: list[str], began: datetime) -> bool:
    READINGS.labels("doubted").inc()
    if reading.doubts != found:
        logger.error("%s: the broker's portfolio is not believed: %s", reading.account, "; ".join(found))
        PortfolioReading.objects.filter(pk=reading.pk).update(doubts=found, doubted_at=began)
    return False


def _note_failure(account: TradingAccount, why: str) -> bool:
    READINGS.labels("failed").inc()
    logger.warning("%s: the portfolio cannot be read: %s", account.kite_user_id, why)
    PortfolioReading.objects.filter(account=account).update(failed_at=Now(), failure=why[:500])
    return False


def _keep_trades(account: TradingAccount, trades: Iterable[Trade]) -> None:
    known = set(
        Trade.objects.filter(account=account, trading_date=clock.today()).values_list(
            "exchange", "order_id", "trade_id"
        )
    )
    new = [trade for trade in trades if key_of(trade) not in known]
    for trade in new:
        trade.account = account
    Trade.objects.bulk_create(new, ignore_conflicts=True)


def _keep_positions(account: TradingAccount, positions: list[Position], read_at: datetime) -> None:
    for position in positions:
        position.account, position.read_at = account, read_at
    kept = Position.objects.bulk_create(
        positions,
        update_conflicts=True,
        unique_fields=["account", "exchange", "tradingsymbol", "product"],
        update_fields=_POSITION_FIELDS,
    )
    Position.objects.filter(account=account).exclude(pk__in=[position.pk for position in kept]).delete()
