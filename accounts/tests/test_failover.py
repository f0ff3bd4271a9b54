"""Data calls that move to another account of the same owner, and everything else, which does not."""

import ast
import inspect
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from accounts.broker import DataClient, borrow_data_client, clients, failover
from accounts.exceptions import BrokerError, NoDataAccount, RequestRejected
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker

ROOT = Path(__file__).resolve().parents[2]
LTP = {"NSE:INFY": {"instrument_token": 408065, "last_price": 1500.0}}


def add_account(kite_user_id: str, owner: User, *, data_failover: bool, priority: int) -> TradingAccount:
    app = KiteApp.objects.create(api_key=f"app{kite_user_id}", label=kite_user_id)
    account = TradingAccount.objects.create(
        kite_user_id=kite_user_id, label="x", app=app, owner=owner, data_failover=data_failover, priority=priority
    )
    store_session(account, {"user_id": kite_user_id, "access_token": f"token-of-{kite_user_id}"})
    return account


@pytest.fixture
def accounts(broker: ScriptedBroker, asha: User, ravi: User) -> None:
    add_account("AA0001", asha, data_failover=False, priority=1)
    add_account("RR0001", ravi, data_failover=True, priority=2)
    add_account("AA0002", asha, data_failover=False, priority=3)
    add_account("AA0003", asha, data_failover=True, priority=4)


def whose(broker: ScriptedBroker) -> list[str]:
    return [asked.headers["Authorization"].rpartition("-")[2] for asked in broker.asked]


def fail_for(broker: ScriptedBroker, kite_user_id: str, status: int, error_type: str) -> None:
    body = {"status": "error", "message": "no", "error_type": error_type}
    broker.answer_by_token[f"token-of-{kite_user_id}"] = Answer(body, status)


@pytest.mark.usefixtures("accounts")
@pytest.mark.parametrize(
    ("status", "error_type"),
    [(429, "NetworkException"), (503, "NetworkException"), (403, "TokenException")],
)
def test_a_flagged_account_of_the_same_owner_answers_and_is_named(
    broker: ScriptedBroker, asha: User, status: int, error_type: str
) -> None:
    broker.answer("GET /quote/ltp", Answer(LTP))
    fail_for(broker, "AA0001", status, error_type)
    served = borrow_data_client(asha).ask(lambda data: data.ltp(["NSE:INFY"]))
    assert (served.answer, served.served_by.kite_user_id) == (LTP, "AA0003")
    assert whose(broker) == ["AA0001", "AA0003"]


@pytest.mark.usefixtures("accounts")
def test_the_preferred_account_answers_if_it_can(broker: ScriptedBroker, asha: User) -> None:
    broker.answer("GET /quote/ltp", Answer(LTP))
    served = borrow_data_client(asha).ask(lambda data: data.ltp(["NSE:INFY"]))
    assert served.served_by.kite_user_id == "AA0001"
    assert whose(broker) == ["AA0001"]


@pytest.mark.usefixtures("accounts")
def test_what_the_broker_refuses_is_not_asked_of_another(broker: ScriptedBroker, asha: User) -> None:
    broker.refuse("GET /quote/ltp", 400, "InputException", "Invalid instrument")
    with pytest.raises(RequestRejected):
        borrow_data_client(asha).ask(lambda data: data.ltp(["NSE:INFY"]))
    assert whose(broker) == ["AA0001"]


@pytest.mark.usefixtures("accounts")
def test_the_last_accounts_error_is_passed_on(broker: ScriptedBroker, asha: User) -> None:
    broker.refuse("GET /quote/ltp", 503, "NetworkException", "down")
    with pytest.raises(BrokerError):
        borrow_data_client(asha).ask(lambda data: data.ltp(["NSE:INFY"]))
    assert whose(broker) == ["AA0001", "AA0003"]


def test_an_owner_without_a_data_account_is_told(asha: User) -> None:
    with pytest.raises(NoDataAccount, match="asha"):
        borrow_data_client(asha)


def test_no_call_that_belongs_to_an_account_can_be_reached() -> None:
    """Statically: failover sees the data client alone, that one calls five methods, and nobody looks inside of it."""
    tree = ast.parse(inspect.getsource(failover))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert not {name for name in imported if "client" in name.lower()} - {"DataClient", "data_client"}

    calls = {
        node.attr
        for node in ast.walk(ast.parse(inspect.getsource(DataClient)))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "kite"
    }
    assert calls == {"instruments_csv", "quote", "ohlc", "ltp", "historical_data"}

    inside = "._" + "kite"
    sources = [path for app in ("accounts", "market", "orders", "streaming") for path in (ROOT / app).rglob("*.py")]
    looking = {path for path in sources if inside in path.read_text(encoding="utf-8")}
    assert looking == {Path(inspect.getsourcefile(clients) or "")}
