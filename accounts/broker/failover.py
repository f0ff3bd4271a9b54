"""Data calls that another account of the same owner answers where the first one cannot.

For prices, candles and instruments only, which are the same whoever asks. What belongs to an account (orders,
positions, funds) is never asked of another one: the wrong account's answer is worse than none.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.contrib.auth.models import User

from accounts.broker.clients import DataClient, data_client
from accounts.exceptions import BrokerError, CredentialError, NoDataAccount, RequestRejected
from accounts.models import TradingAccount

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Served(Generic[T]):
    """An answer, and whose session fetched it."""

    answer: T
    served_by: TradingAccount


class BorrowedDataClient:
    """Asks the accounts in their order until one answers."""

    def __init__(self, accounts: Sequence[TradingAccount]) -> None:
        self._accounts = accounts

    def ask(self, question: Callable[[DataClient], T]) -> Served[T]:
        """Put one question, e.g. ``lambda data: data.ltp(["NSE:INFY"])``. It may be put to several accounts.

        Raises
        ------
        RequestRejected
            At once: the broker understood, and would refuse another account too.
        BrokerError, CredentialError
            Of the last account, if none answered: too many requests, a fault of the broker, no living session.
        """
        *others, last = self._accounts
        for account in others:
            try:
                return Served(question(data_client(account)), account)
            except RequestRejected:
                raise
            except (BrokerError, CredentialError) as exc:
                logger.warning("%s cannot answer a data call, another account is asked: %s", account, exc)
        return Served(question(data_client(last)), last)


def borrow_data_client(owner: User) -> BorrowedDataClient:
    """A data client of the owner's preferred data account, behind which those flagged `data_failover` step in.

    Raises
    ------
    NoDataAccount
        The owner has no enabled account that may feed market data.
    """
    accounts = TradingAccount.objects.for_data().filter(owner=owner).select_related("app")
    if not accounts:
        raise NoDataAccount(f"no enabled account of {owner} may feed market data")
    first, *others = accounts
    return BorrowedDataClient([first, *(account for account in others if account.data_failover)])
