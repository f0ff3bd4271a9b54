"""The accounts that feed the stream, and their access tokens as they are at this moment."""

import asyncio
import logging
from dataclasses import dataclass

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from accounts.broker import portfolio_client
from accounts.exceptions import BrokerError, CredentialError, SessionExpired
from accounts.models import TradingAccount
from accounts.sessions import token_of_the_day
from streaming.connection import AccessToken

logger = logging.getLogger(__name__)

LOOK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class FeedAccount:
    """An account that may feed the stream. Its sockets are those of its app: other accounts may share them."""

    pk: int
    name: str  # the broker's user id
    app_id: int = 0
    app: str = ""  # the app's label


def feed_accounts() -> tuple[FeedAccount, ...]:
    """The accounts that may feed market data, the preferred one first. Their logins may come later."""
    rows = TradingAccount.objects.for_data().values_list("pk", "kite_user_id", "app_id", "app__label")
    return tuple(FeedAccount(*row) for row in rows)


def read_token(account: FeedAccount) -> AccessToken | None:
    """The account's key and token of the day; None while it is logged out or what is stored cannot be opened."""
    row = TradingAccount.objects.select_related("app").get(pk=account.pk)
    try:
        return AccessToken(row.app.api_key, token_of_the_day(row).text)
    except SessionExpired:
        return None
    except CredentialError as exc:
        logger.error("%s: %s", account.name, exc)
        return None


def is_dead(account: FeedAccount, token: AccessToken) -> bool:
    """Ask the broker whether `token` has ended; its session then ends too, so that every page shows it.

    Where nobody can say, because the broker is away, the answer is no: it is tried again. A token that is no longer the
    stored one is dead.
    """
    row = TradingAccount.objects.select_related("app").get(pk=account.pk)
    try:
        if token_of_the_day(row).text != token.access_token:
            return True
        portfolio_client(row).profile()
    except SessionExpired:
        return True
    except (BrokerError, CredentialError) as exc:
        logger.warning("%s: whether its token has ended is not known: %s", account.name, exc)
    return False


class StoredTokens:
    """The token as the database has it. `nudge` is set when the control channel announces a new one."""

    def __init__(self, account: FeedAccount, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.nudge = asyncio.Event()
        self._account = account
        self._look_seconds = look_seconds
        self._last: AccessToken | None = None

    async def current(self) -> AccessToken | None:
        """What is stored now; the last one known while the database does not answer."""
        try:
            self._last = await database_sync_to_async(read_token)(self._account)
        except DatabaseError as exc:
            logger.warning("%s: the token could not be read: %s", self._account.name, exc)
        return self._last

    async def is_dead(self, token: AccessToken) -> bool:
        try:
            dead: bool = await database_sync_to_async(is_dead)(self._account, token)
        except DatabaseError as exc:
            logger.warning("%s: the token could not be checked: %s", self._account.name, exc)
            return False
        return dead

    async def changed(self, since: AccessToken | None) -> AccessToken:
        """Wait for a token other than `since`: looked for at each nudge, and every few seconds."""
        while True:
            self.nudge.clear()
            token = await self.current()
            if token is not None and token != since:
                return token
            try:
                async with asyncio.timeout(self._look_seconds):
                    await self.nudge.wait()
            except TimeoutError:
                pass
