"""Fetch the instrument dump from the broker and take it over, through whichever data account answers."""

import logging
from datetime import date, datetime, timedelta

from django.conf import settings
from django.utils import timezone

from accounts import clock
from accounts.broker import DataClient
from market import calendar
from market.data_accounts import ask_any_account
from market.exceptions import CalendarMissing
from market.instruments import Step, import_instruments
from market.models import InstrumentImport

logger = logging.getLogger(__name__)

BACK_OFF = timedelta(seconds=60)


def refresh_instruments(*, accept_shrinking: bool = False, on_step: Step = logger.debug) -> InstrumentImport:
    """Import the broker's dump through an account of the first owner, by priority, whose accounts can fetch it.

    Raises
    ------
    NoAccountForData
        If no enabled account may feed market data.
    BrokerError, CredentialError
        Of the last account tried, if none could fetch it.
    InstrumentsRefused, ImportAlreadyRunning
        As `import_instruments`; another account would get the same dump.
    """

    def fetch(data: DataClient) -> InstrumentImport:
        on_step(f"asking the broker as {data.account}")
        return import_instruments(
            data.instruments_csv(),
            account=data.account.kite_user_id,
            source="the broker",
            accept_shrinking=accept_shrinking,
            on_step=on_step,
        )

    return ask_any_account(fetch).answer


def is_due() -> bool:
    """Whether the day's dump is still to be fetched, and the last try to do so is long enough ago.

    The broker makes a dump every morning; from `INSTRUMENT_REFRESH_AT` (IST) on, a day on which some market trades has
    to have been imported since then. A day about which the calendar says nothing is taken for one of those: unknown is
    not closed.
    """
    now = clock.now()
    day = now.astimezone(clock.IST).date()
    begins = datetime.combine(day, settings.INSTRUMENT_REFRESH_AT, clock.IST)
    if now < begins or not _may_trade(day):
        return False
    done = InstrumentImport.Outcome.COMPLETED
    if InstrumentImport.objects.filter(outcome=done, market_time__gte=begins, market_time__lte=now).exists():
        return False
    return not InstrumentImport.objects.filter(started_at__gt=timezone.now() - BACK_OFF).exists()


def _may_trade(day: date) -> bool:
    for exchange, segment in calendar.SEGMENTS.items():
        try:
            if calendar.session_of(exchange, segment, day) is not None:
                return True
        except CalendarMissing:
            return True
    return False
