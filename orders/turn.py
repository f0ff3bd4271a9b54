"""One worker's turn with one account: what it need not ask for again with each order.

The process keeps its tokens, and a thread its clients, for the next turns too: reading and unsealing a token takes
longer than claiming an order. Which login is in force comes with each claim, so that none outlives its own.
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
    """By account, and whether it is for what reduces risk."""

    def __init__(self) -> None:
        self.clients: dict[tuple[int, bool], _Kept] = {}


# Both are bounded by the accounts there are.
_of_this_thread = _OfThisThread()
_tokens: dict[int, DayToken] = {}


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
        clients, api_key = _of_this_thread.clients, self.account.app.api_key
        kept = clients.get((self.account.pk, urgent))
        if kept is None or kept.api_key != api_key or not _is_in_force(kept.token, login):
            token = self._token(login)
            kept = _Kept(orders_client(self.account, urgent=urgent, token=token), token, api_key)
            clients[self.account.pk, urgent] = kept
        return kept.client

    def _token(self, login: int | None) -> DayToken:
        token = _tokens.get(self.account.pk)
        if token is None or not _is_in_force(token, login):
            token = _tokens[self.account.pk] = token_of_the_day(self.account)
        return token

    def forget_token(self) -> None:
        """The broker refused it: the next order takes that of a login since, if there was one."""
        _tokens.pop(self.account.pk, None)
        for urgent in (False, True):
            _of_this_thread.clients.pop((self.account.pk, urgent), None)


def _is_in_force(token: DayToken, login: int | None) -> bool:
    return token.version == login and token.ends_at > clock.now()
