"""An account that may trade, contracts to trade, and a client that sends orders over REST."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from itertools import count
from time import time as time_now
from typing import Any

import redis
from django.conf import settings
from django.db import connection
from django.test import Client

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import TradingAccount
from market.lines import encode
from market.models import Instrument, TradingSession
from market.names import RedisNames

NOON = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)  # a Wednesday, 12:00 in India
TODAY = date(2026, 11, 25)
BODY: dict[str, Any] = {
    "exchange": "NFO",
    "tradingsymbol": "NIFTY26DEC26000CE",
    "transaction_type": "BUY",
    "quantity": 75,
    "product": "NRML",
    "order_type": "LIMIT",
    "price": "120.50",
}


@contextmanager
def audit_without_room(kind: str) -> Iterator[None]:
    """The database takes no event of this kind, for as long as the block runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "create function no_room() returns trigger language plpgsql as"
            " $$ begin raise 'no room in the audit' using errcode = 'data_exception'; end $$"
        )
        cursor.execute(
            "create trigger no_room before insert on accounts_auditevent"
            f" for each row when (new.kind = '{kind}') execute function no_room()"
        )
        yield
        cursor.execute("drop function no_room cascade")


def list_contracts() -> None:
    """An option of NIFTY and a share, and today's sessions of their markets."""
    common: dict[str, Any] = {"first_seen": TODAY, "last_seen": TODAY, "tick_size": Decimal("0.05")}
    Instrument.objects.create(
        exchange="NFO",
        tradingsymbol="NIFTY26DEC26000CE",
        instrument_token=1001,
        name="NIFTY",
        expiry=date(2026, 12, 29),
        strike=26000,
        lot_size=75,
        instrument_type="CE",
        segment="NFO-OPT",
        **common,
    )
    Instrument.objects.create(
        exchange="NSE",
        tradingsymbol="INFY",
        instrument_token=408065,
        name="INFOSYS",
        lot_size=1,
        instrument_type="EQ",
        segment="NSE",
        **common,
    )
    Instrument.objects.create(
        exchange="NSE",
        tradingsymbol="NIFTY 50",
        instrument_token=256265,
        name="NIFTY 50",
        instrument_type="EQ",
        segment="INDICES",
        **common | {"tick_size": 0},
    )
    for exchange, segment in (("NFO", "derivatives"), ("NSE", "equity")):
        TradingSession.objects.create(
            exchange=exchange,
            segment=segment,
            date=TODAY,
            kind="regular",
            opens_at=time(9, 15),
            closes_at=time(15, 30),
            source="test",
        )


def quote(last_price: float | None, *, token: int = 1001, part: str = "nifty:2026-12-29", **columns: Any) -> None:
    """Let the stream's latest news of an instrument be this price, of this moment unless `sent_at` says otherwise."""
    now = time_now()
    sent_at = columns.pop("sent_at", now)
    feed_state = columns.pop("feed_state", "live")
    names = RedisNames(settings.REDIS_PREFIX)
    rows = {"instrument_token": [token], "last_price": [last_price], "age_ms": [0]}
    head = {"kind": "snapshot", "source": "simulated", "feed_state": feed_state, "sent_at": sent_at, "market_time": now}
    line = encode(head | {"columns": rows | {name: [value] for name, value in columns.items()}})
    with redis.Redis.from_url(settings.REDIS_URL) as store:
        store.set(names.blob(part), line)
        store.hset(names.parts, str(token), part)


class Trader:
    """A program with a key that may trade on the account; each call has an Idempotency-Key of its own."""

    def __init__(self, account: TradingAccount, *scopes: Action) -> None:
        self.account = account
        scopes = scopes or (Action.READ, Action.TRADE)
        _, text = create_api_key(owner=account.owner, label="program", scopes=scopes, accounts=[account])
        self.client = Client(headers={"X-API-Key": text})
        self._numbers = count(1)

    def place(self, *, key: str = "", query: str = "", **changes: Any) -> Any:
        body = {"account": str(self.account.public_id)} | BODY | changes
        return self.send("post", f"/api/v1/orders{query}", body, key=key)

    def send(self, method: str, path: str, body: Any = None, *, key: str = "") -> Any:
        ask: Callable[..., Any] = getattr(self.client, method)
        headers = {"Idempotency-Key": key or f"key-{next(self._numbers)}"}
        if body is None:
            return ask(path, headers=headers)
        return ask(path, data=body, content_type="application/json", headers=headers)


def error_of(response: Any) -> Any:
    return response.json()["error"]


def failed_checks(response: Any) -> list[str]:
    return [check["code"] for check in error_of(response)["details"]["checks"]]
