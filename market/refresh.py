"""Fetch the instrument dump from the broker and take it over, through whichever data account answers."""

import logging

from accounts.broker import DataClient, borrow_data_client
from accounts.exceptions import BrokerError, CredentialError, NoDataAccount
from accounts.models import TradingAccount
from market.exceptions import NoAccountForData
from market.instruments import Step, import_instruments
from market.models import InstrumentImport

logger = logging.getLogger(__name__)


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

    failure: BrokerError | CredentialError | None = None
    accounts = TradingAccount.objects.for_data().select_related("owner")
    for owner in dict.fromkeys(account.owner for account in accounts):
        try:
            return borrow_data_client(owner).ask(fetch).answer
        except NoDataAccount:
            continue  # disabled meanwhile
        except (BrokerError, CredentialError) as exc:
            logger.warning("no account of %s can fetch the instruments: %s", owner, exc)
            failure = exc
    if failure is not None:
        raise failure
    raise NoAccountForData("no enabled account may feed market data: mark one in the admin, under Trading accounts")
