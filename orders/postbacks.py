"""Postbacks: taken in quickly and kept once; looked into afterwards, by asking the broker.

The checksum covers an order's id, its time and nothing else: so nothing else that a postback says is believed. It is a
reason to read that order. The row waits until that has been done, whether or not a doorbell was heard.
"""

import hashlib
import hmac
import logging
import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.db.models import F, Q
from django.db.models.functions import Now

from accounts import strict_json
from accounts.broker import orders_client
from accounts.credentials import Kind, read_secret
from accounts.exceptions import BrokerError, CredentialError, OutcomeUnknown, RequestRejected
from accounts.models import BrokerSession, KiteApp, TradingAccount
from orders.book import read_book
from orders.broker_orders import Unreadable, record_broker_update
from orders.incoming import is_surprise
from orders.models import PortfolioReading, Postback

logger = logging.getLogger(__name__)

LEAST_SECONDS = 1.0  # between two calls for an account's postbacks
MOST_TRIES = 5  # then it is left to the readings of the portfolio, which come anyway
_ORDER_ID = re.compile(r"[0-9]{1,20}")
_USER_ID = re.compile(r"[A-Z0-9]{4,12}")
_CHECKSUM = re.compile(r"[0-9a-f]{64}")
_LONGEST_TIMESTAMP = 40
_MODIFIED = "MODIFIED"


class NoPostback(Exception):
    """It is none, or not of this app. `reason` is for the metric; its sender is told nothing."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def take_in(app: KiteApp, raw: bytes) -> tuple[Postback, bool]:
    """Keep what was posted for an app. Whether it is new; the row of the first time if not.

    Raises
    ------
    NoPostback
        Nothing was kept.
    """
    body = _verified(app, raw)
    user_id = body.get("user_id")
    if not (isinstance(user_id, str) and _USER_ID.fullmatch(user_id)):
        raise NoPostback("account")
    account = TradingAccount.objects.filter(app=app, kite_user_id=user_id).first()
    if account is None:
        raise NoPostback("account")
    return Postback.objects.get_or_create(
        account=account,
        order_id=body["order_id"],
        order_timestamp=body["order_timestamp"],
        digest=hashlib.sha256(raw).hexdigest(),
        defaults={"status": _printable(body.get("status"))},
    )


def _verified(app: KiteApp, raw: bytes) -> Mapping[str, Any]:
    try:
        body = strict_json.loads(raw)
    except ValueError:
        raise NoPostback("json") from None
    if not isinstance(body, dict):
        raise NoPostback("json")
    order_id, at, checksum = (body.get(name) for name in ("order_id", "order_timestamp", "checksum"))
    if not (isinstance(order_id, str) and _ORDER_ID.fullmatch(order_id)):
        raise NoPostback("form")
    if not (isinstance(at, str) and at.isascii() and at.isprintable() and 0 < len(at) <= _LONGEST_TIMESTAMP):
        raise NoPostback("form")
    if not (isinstance(checksum, str) and _CHECKSUM.fullmatch(checksum)):
        raise NoPostback("checksum")
    try:
        secret = read_secret(app, Kind.API_SECRET)
    except CredentialError as exc:
        logger.error("postbacks of app %s cannot be verified: %s", app, exc)
        raise NoPostback("no_secret") from exc
    if not hmac.compare_digest(checksum, hashlib.sha256(f"{order_id}{at}{secret}".encode()).hexdigest()):
        raise NoPostback("checksum")
    return body


def _printable(status: Any) -> str:
    return status[:40] if isinstance(status, str) and status.isascii() and status.isprintable() else ""


# --- looking into them -----------------------------------------------------------------------------------------------


def accounts_waiting(*, waiting_seconds: float = 0.0) -> list[TradingAccount]:
    """Logged-in accounts with postbacks that nobody has looked into for so long."""
    due = _waiting().filter(received_at__lte=Now() - timedelta(seconds=waiting_seconds))
    sessions = BrokerSession.objects.filter(status=BrokerSession.Status.ACTIVE)
    accounts = TradingAccount.objects.enabled().filter(pk__in=due.values("account"))
    return list(accounts.filter(pk__in=sessions.values("account")).select_related("app"))


def read_waiting(account: TradingAccount) -> bool:
    """Read what the account's postbacks are about, with one call; not at all if there was one within the second.

    Of one order its history is read, of several the order book, which has all of them. Whether any are left.
    """
    waiting = list(_waiting().filter(account=account).order_by("pk"))
    if not waiting:
        return False
    if not _may_ask(account):
        return True
    order_ids = {postback.order_id for postback in waiting}
    try:
        found = _read_one(account, *order_ids) if len(order_ids) == 1 else order_ids & read_book(account).ids
    except Unreadable as exc:
        return _note_try(waiting, str(exc))
    except (BrokerError, CredentialError) as exc:
        if _knows_no_such_order(exc):
            return _note_try(waiting, str(exc))
        # No fault of theirs: they wait until the broker can be asked again, which the beat tries every two seconds.
        logger.warning("%s: what its postbacks tell of cannot be read now: %s", account.kite_user_id, exc)
        return False
    done = [postback.pk for postback in waiting if postback.order_id in found]
    Postback.objects.filter(pk__in=done).update(read_at=Now(), failure="")
    missing = [postback for postback in waiting if postback.order_id not in found]
    return _note_try(missing, "the order is not in the broker's book") if missing else False


def read_all_waiting(*, waiting_seconds: float) -> None:
    """Those that no worker has looked into: for where there are none."""
    for account in accounts_waiting(waiting_seconds=waiting_seconds):
        read_waiting(account)


def forget_older_than(days: int) -> int:
    """Delete what came longer ago. How many there were."""
    return Postback.objects.filter(received_at__lt=Now() - timedelta(days=days)).delete()[0]


def _waiting() -> Any:
    """A broker's order book is of one day: after that there is nothing to ask any more."""
    return Postback.objects.filter(
        read_at=None, tries__lt=MOST_TRIES, received_at__gt=Now() - timedelta(days=1)
    ).select_related("account")


def _may_ask(account: TradingAccount) -> bool:
    """Whether this call is the account's only one in this second, by the database's clock."""
    PortfolioReading.objects.get_or_create(account=account)
    long_ago = Q(news_read_at=None) | Q(news_read_at__lte=Now() - timedelta(seconds=LEAST_SECONDS))
    return bool(PortfolioReading.objects.filter(long_ago, account=account).update(news_read_at=Now()))


def _read_one(account: TradingAccount, order_id: str) -> set[str]:
    history = orders_client(account).history(order_id)
    if not history or str(history[-1].get("order_id")) != order_id:
        return set()
    modifications = sum(row.get("status") == _MODIFIED for row in history)
    record_broker_update(account, history[-1], source="history", modifications=modifications)
    if is_surprise(account, history[-1]):
        PortfolioReading.want(account)
    return {order_id}


def _knows_no_such_order(exc: Exception) -> bool:
    """Whether the broker did answer, only not with an order."""
    return isinstance(exc, RequestRejected) or (isinstance(exc, OutcomeUnknown) and not exc.is_fault)


def _note_try(waiting: list[Postback], why: str) -> bool:
    """Whether there is to be another try."""
    rows = Postback.objects.filter(pk__in=[postback.pk for postback in waiting])
    rows.update(tries=F("tries") + 1, failure=why[:500])
    left = rows.filter(tries__lt=MOST_TRIES).exists()
    if not left:
        logger.warning("postbacks about %s lead to nothing: %s", {one.order_id for one in waiting}, why)
    return left
