"""One worker's turn with one account: what it need not ask for again with each order.

A thread keeps its clients for the next turns too: reading and unsealing a token takes longer than claiming an order.
Which login is in force comes with each claim, so that none outlives its own.
"""

import threading
from dataclasses import dataclass

from accounts import clock
from accounts.broker import OrdersClient, orders_client
from accounts.models import TradingAccount
from accounts.sessions import DayToken, token_of_the_day
from orders.states import REDUCING, Operation


@dataclass(frozen=True, slots=True)
class _Kept:
    client: OrdersClient
    token: DayToken
    api_key: str


class _OfThisThread(threading.local):
    """By account, and whether it is for what reduces risk. Bounded by the accounts there are."""

    def __init__(self) -> None:
        self.clients: dict[tuple[int, bool], _Kept] = {}


_of_this_thread = _OfThisThread()


class Turn:
    """It lasts seconds, and belongs to one thread."""

    def __init__(self, account: TradingAccount) -> None:
        self.account = account
        self.has_room = False  # whether the budget has just said that another entry may go

    def client_for(self, operation: Operation, login: int | None) -> OrdersClient:
        """The client that sends it.

        Parameters
        ----------
        login : the version of the account's login that is in force; None if there is none

        Raises
        ------
        SessionExpired, CredentialError
        """
        urgent = operation in REDUCING
        clients = _of_this_thread.clients
        kept = clients.get((self.account.pk, urgent))
        if (
            kept is None
            or kept.token.version != login
            or kept.token.ends_at <= clock.now()
            or kept.api_key != self.account.app.api_key
        ):
            token = token_of_the_day(self.account)
            kept = _Kept(orders_client(self.account, urgent=urgent, token=token), token, self.account.app.api_key)
            clients[self.account.pk, urgent] = kept
        return kept.client

    def forget_token(self) -> None:
        """The broker refused it: the next order takes that of a login since, if there was one."""
        for urgent in (False, True):
            _of_this_thread.clients.pop((self.account.pk, urgent), None)
