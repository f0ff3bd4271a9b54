"""One worker's turn with one account: what it need not ask for again with each order."""

from accounts.broker import OrdersClient, orders_client
from accounts.models import TradingAccount
from orders.states import REDUCING, Operation


class Turn:
    """It lasts seconds. The clients log in with the token of the day once; for one thread."""

    def __init__(self, account: TradingAccount) -> None:
        self.account = account
        self.has_room = False  # whether the budget has just said that another entry may go
        self._clients: dict[bool, OrdersClient] = {}

    def client_for(self, operation: Operation) -> OrdersClient:
        """Raises SessionExpired, CredentialError."""
        urgent = operation in REDUCING
        if urgent not in self._clients:
            self._clients[urgent] = orders_client(self.account, urgent=urgent)
        return self._clients[urgent]

    def forget_token(self) -> None:
        """The broker refused it: the next order takes that of a login since, if there was one."""
        self._clients.clear()
