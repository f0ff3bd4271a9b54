"""F61: an access token that ends in the middle of the day, in the stream and for everybody who calls the broker."""

import asyncio
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from channels.db import database_sync_to_async
from django.conf import settings as django_settings
from django.db import connection
from pytest_django import Settings

from accounts.broker import portfolio_client
from accounts.broker.login import accept_access_token
from accounts.control import control_channel
from accounts.demo import seed_demo
from accounts.exceptions import SessionExpired
from accounts.models import BrokerSession, TradingAccount
from accounts.token_refresh import refresh_tokens
from simulator.tests.running import RunningSimulator, options_for_tests, with_control
from simulator.tests.running import running as running_simulator
from streaming.connection import ConnectionState, DialGuard, TickerConnection, Timing, kite_dial
from streaming.control import read_message
from streaming.feed_account import FeedAccount, StoredTokens
from streaming.inbox import Inbox
from streaming.tests.fake_broker import running, standing_slot, until
from streaming.wire_requests import Mode

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

QUICK = Timing(backoff_base=0.01, backoff_cap=0.05, refused=0.5, close_timeout=0.3, between_requests=0, settle=0)


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))) as simulator:
        yield simulator


@pytest.fixture
def account(simulator: RunningSimulator, settings: Settings) -> TradingAccount:
    settings.KITE_API_ROOT = settings.KITE_LOGIN_ROOT = simulator.http_root
    account = seed_demo().account
    accept_access_token(account, simulator.logged_in().access_token)
    return account


class Stream:
    """The stream's connection of the account, with its token as the database has it."""

    def __init__(self, account: TradingAccount, simulator: RunningSimulator, *, look_seconds: float) -> None:
        self.inbox = Inbox()
        feed = FeedAccount(account.pk, account.kite_user_id)
        self.tokens = StoredTokens(feed, look_seconds=look_seconds)
        self.connection = TickerConnection(
            "AB1234 socket 1",
            dial=kite_dial(simulator.websocket_root, QUICK),
            tokens=self.tokens,
            inbox=self.inbox,
            on_text=lambda _: None,
            guard=DialGuard(limit=1000),
            slot=standing_slot(),
            expects_data=lambda: True,
            timing=QUICK,
        )
        self.connection.want({256265: Mode.FULL})

    async def ticks(self) -> None:
        had = len(self.inbox.frames)
        await until(lambda: len(self.inbox.frames) > had + 1 and self.connection.state is ConnectionState.OPEN)


@pytest.mark.parametrize("with_nudge", [True, False], ids=["Redis there", "Redis away"])
async def test_f61_a_token_that_ends_by_day_stops_dialling_and_a_login_brings_all_back_within_five_seconds(
    account: TradingAccount, simulator: RunningSimulator, caplog: pytest.LogCaptureFixture, with_nudge: bool
) -> None:
    control = simulator.control()
    stream = Stream(account, simulator, look_seconds=60 if with_nudge else 1)
    async with running(stream.connection.run()):
        await stream.ticks()
        with caplog.at_level(logging.ERROR):
            await asyncio.to_thread(control.kill_tokens, sockets="close")
            await until(lambda: stream.connection.state is ConnectionState.AWAITING_TOKEN)
            await asyncio.to_thread(control.reset_counters)
            # The stream has asked the broker once, so that every page and worker knows too.
            session = await database_sync_to_async(BrokerSession.objects.get)(account=account)
            assert session.status == BrokerSession.Status.ENDED
            with pytest.raises(SessionExpired):
                await database_sync_to_async(portfolio_client)(account)
            await asyncio.sleep(10 * QUICK.backoff_cap)  # ample for a dial that must not come
        told = [record for record in caplog.records if "refused its access token" in record.getMessage()]
        assert len(told) == 1
        counters = await asyncio.to_thread(control.counters)
        assert counters.calls() == 0
        assert counters.sockets("simkey1").accepted == 0
        fresh = await asyncio.to_thread(simulator.logged_in)
        begun = time.monotonic()
        await database_sync_to_async(accept_access_token)(account, fresh.access_token)
        if with_nudge:
            stream.tokens.nudge.set()  # what the supervisor does with the message that the next test sees
        await stream.ticks()
        assert time.monotonic() - begun < 5
        client = await database_sync_to_async(portfolio_client)(account)
        assert (await database_sync_to_async(client.profile)())["user_id"] == "AB1234"
    await database_sync_to_async(lambda: connection.close())()  # else the test database could not be removed
    control.close()


def test_f61_a_login_is_announced_to_every_process(
    account: TradingAccount, simulator: RunningSimulator, valkey: "redis.Redis"
) -> None:
    with valkey.pubsub(ignore_subscribe_messages=True) as listener:  # type: ignore[no-untyped-call]
        listener.subscribe(control_channel())
        listener.get_message(timeout=1)
        accept_access_token(account, simulator.logged_in().access_token)
        message = listener.get_message(timeout=5)
    assert read_message(message["data"]) == {"type": "token_changed", "account": "AB1234", "token_version": 2}


def test_f61_an_account_that_has_opted_in_logs_itself_in_again(
    account: TradingAccount, simulator: RunningSimulator
) -> None:
    control = simulator.control()
    control.kill_tokens()
    with pytest.raises(SessionExpired):
        portfolio_client(account).profile()
    assert refresh_tokens() == ["AB1234"]
    assert portfolio_client(account).profile()["user_id"] == "AB1234"
    control.close()
