"""Instruments, people and a key that the tests of this app share."""

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts import clock
from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import KiteApp, TradingAccount
from market.models import Instrument
from streaming.tests.strikes import listed as listed  # fixtures
from streaming.tests.strikes import market_says as market_says
from streaming.tests.strikes import options_say as options_say

MakeInstrument = Callable[..., Instrument]


@pytest.fixture
def asha(db: None) -> User:
    return User.objects.create_user("asha", password="correct horse battery")


@pytest.fixture
def account(asha: User) -> TradingAccount:
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha Rao", app=app, owner=asha)


@pytest.fixture
def make_instrument(db: None) -> MakeInstrument:
    """`make_instrument(token, "NIFTY26D0124900CE", …)`: an active instrument; keywords are fields of the model."""

    def make(token: int, tradingsymbol: str, **fields: Any) -> Instrument:
        today = clock.today()
        defaults: dict[str, Any] = {
            "exchange": "NSE",
            "segment": "NSE",
            "instrument_type": "EQ",
            "first_seen": today,
            "last_seen": today,
        }
        return Instrument.objects.create(instrument_token=token, tradingsymbol=tradingsymbol, **defaults | fields)

    return make


@pytest.fixture
def chain(make_instrument: MakeInstrument) -> dict[str, int]:
    """NIFTY: the index, two futures, and two strikes of each of three expiries; tokens by symbol."""
    today = clock.today()
    near, next_one, far = (today + timedelta(days=days) for days in (7, 14, 21))
    contract = {"exchange": "NFO", "name": "NIFTY", "lot_size": 75, "tick_size": Decimal("0.05")}
    instruments = [make_instrument(256265, "NIFTY 50", name="NIFTY 50", segment="INDICES")]
    token = 1000

    def add(symbol: str, **fields: Any) -> None:
        nonlocal token
        token += 256
        instruments.append(make_instrument(token, symbol, **contract | fields))

    for label, expiry in (("NEAR", near), ("NEXT", next_one), ("FAR", far)):
        for strike in (24900, 25000):
            for kind in ("CE", "PE"):
                add(
                    f"NIFTY{label}{strike}{kind}",
                    segment="NFO-OPT",
                    instrument_type=kind,
                    expiry=expiry,
                    strike=Decimal(strike),
                )
    for label, expiry in (("NEXT", next_one), ("FAR", far)):
        add(f"NIFTY{label}FUT", segment="NFO-FUT", instrument_type="FUT", expiry=expiry)
    return {instrument.tradingsymbol: instrument.instrument_token for instrument in instruments}


@pytest.fixture
def key(account: TradingAccount, asha: User) -> Callable[[Action], Client]:
    """A client with a key that has one right."""

    def client_with(action: Action) -> Client:
        _, text = create_api_key(
            owner=asha, label=action, scopes=[action], accounts=[account], valid_for=timedelta(days=1)
        )
        return Client(headers={"x-api-key": text})

    return client_with


@pytest.fixture
def streamer(key: Callable[[Action], Client]) -> Client:
    return key(Action.STREAM)


@pytest.fixture
def reader(key: Callable[[Action], Client]) -> Client:
    return key(Action.READ)
