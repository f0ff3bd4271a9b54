"""Fetch the instrument dump from the broker and take it over, through whichever data account answers."""

import logging

from accounts.broker import data_client
from accounts.exceptions import BrokerError, CredentialError
from accounts.models import TradingAccount
from market.exceptions import NoAccountForData
from market.instruments import Step, import_instruments
from market.models import InstrumentImport

logger = logging.getLogger(__name__)


def refresh_instruments(*, accept_shrinking: bool = False, on_step: Step = logger.debug) -> InstrumentImport:
    """Import the broker's dump through the first account, by priority, that can fetch it.

    Raises
    ------
    NoAccountForData
        If no enabled account may feed market data.
    BrokerError, CredentialError
        Of the last account tried, if none could fetch it.
    InstrumentsRefused, ImportAlreadyRunning
        As `import_instruments`; another account would get the same dump.
    """
    failure: BrokerError | CredentialError | None = None
    for account in TradingAccount.objects.for_data():
        on_step(f"asking the broker as {account}")
        try:
            return import_instruments(
                data_client(account).instruments_csv(),
                account=account.kite_user_id,
                source="the broker",
                accept_shrinking=accept_shrinking,
                on_step=on_step,
            )
        except (BrokerError, CredentialError) as exc:
            logger.warning("%s cannot fetch the instruments: %s", account, exc)
            failure = exc
    if failure is not None:
        raise failure
    raise NoAccountForData("no enabled account may feed market data: mark one in the admin, under Trading accounts")
