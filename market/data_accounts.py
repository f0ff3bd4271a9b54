"""Putting a question about the market to the broker, through whichever data account of the installation answers."""

import logging
from collections.abc import Callable
from typing import TypeVar

from accounts.broker import DataClient, Served, borrow_data_client
from accounts.exceptions import BrokerError, CredentialError, NoDataAccount, RequestRejected
from accounts.models import TradingAccount
from market.exceptions import NoAccountForData

logger = logging.getLogger(__name__)

T = TypeVar("T")


def ask_any_account(question: Callable[[DataClient], T]) -> Served[T]:
    """Put `question` to the accounts of one owner after another, by priority, until one answers.

    Within an owner's accounts it fails over as `accounts.broker.failover` has it.

    Raises
    ------
    NoAccountForData
        If no enabled account may feed market data.
    RequestRejected
        At once: another account would be refused too.
    BrokerError, CredentialError
        Of the last owner's, if none answered.
    """
    failure: BrokerError | CredentialError | None = None
    accounts = TradingAccount.objects.for_data().select_related("owner")
    for owner in dict.fromkeys(account.owner for account in accounts):
        try:
            return borrow_data_client(owner).ask(question)
        except NoDataAccount:
            continue  # disabled meanwhile
        except RequestRejected:
            raise
        except (BrokerError, CredentialError) as exc:
            logger.warning("no account of %s can answer a question about the market: %s", owner, exc)
            failure = exc
    if failure is not None:
        raise failure
    raise NoAccountForData("no enabled account may feed market data: mark one in the admin, under Trading accounts")
