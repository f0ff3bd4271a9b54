"""Orders from being taken on to the broker, in real processes: how soon, how steadily, how many by one worker.

The peer of "how soon" is a worker that looks into the table each second. It has a web process and accounts of its own,
the same database and broker, and the same code for sending; only nobody rings for it. Both work in turn, in one run.
"""

import json
import statistics
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psutil
import psycopg
import requests

from benchmarks.harness import Result
from benchmarks.soak.broker_users import Trader
from benchmarks.soak.clients import Market
from benchmarks.soak.rig import CONTROL_TOKEN, PYTHON, WORKER, Rig, web
from simulator.control import AcceptedOrder, SimulatorControl
from tickerproject.local.ports import is_free

NAME = "orders"
PEER = "poll-1s"
LATENCY_ACCOUNTS, LATENCY_RATE, ROUND_SECONDS = 4, 10.0, 6.0
STEADY_ACCOUNTS, STEADY_ORDERS, STEADY_SECONDS = 2, 8.0, 20.0
MOST_ACCOUNTS, MOST_EACH = 25, 40
SETTINGS = {
    "SIMULATOR_ORDER_MS": "0",
    "SIMULATOR_ACTIVITY": "0.05",
    "SIMULATOR_FRAME_MS": "1000",
    "API_THROTTLE_RATE": "1000000/min",
}
# For the throughput alone: as much of the budget for entries as there can be.
WIDE = {
    "ORDER_BUDGET_PER_SECOND": "10",
    "ORDER_BUDGET_RESERVE_PER_SECOND": "1",
    "ORDER_BUDGET_WINDOW_SECONDS": "1.0",
    "SIMULATOR_RATE_LIMITS": "false",
}


def run(rounds: int) -> Iterator[Result]:
    """Milliseconds from taking on to the broker's socket, orders a second of an account, tasks a second of a worker."""
    yield from _how_soon(rounds)
    yield from _how_many()


# --- how soon, and how steadily --------------------------------------------------------------------------------------


def _how_soon(rounds: int) -> Iterator[Result]:
    ours = [Trader(number) for number in range(LATENCY_ACCOUNTS)]
    theirs = [Trader(LATENCY_ACCOUNTS + number) for number in range(LATENCY_ACCOUNTS)]
    steady = [Trader(2 * LATENCY_ACCOUNTS + number) for number in range(STEADY_ACCOUNTS)]
    with Rig([*ours, *theirs, *steady], SETTINGS) as rig:
        rig.add("worker", WORKER)
        markets = {}
        for name, traders in (("ticker", ours), ("peer", theirs)):
            port = rig.port()
            # Its bells are heard by nobody, and its limits are counted apart.
            rig.add(f"web-{name}", web(port), REDIS_PREFIX=name)
            rig.wait(f"web-{name}", lambda port=port: not is_free(port))  # type: ignore[misc]
            markets[name] = _market(rig, traders, port)
        rig.add("peer", (PYTHON, "-m", "benchmarks.order_roles", "poll"), REDIS_PREFIX="peer")
        for name, market in markets.items():
            _warm_up(rig, name, market)
        for _ in range(rounds):
            for market in markets.values():  # in turn: what one costs the machine must not slow the other
                _place_evenly(market, LATENCY_RATE, ROUND_SECONDS)
                _wait_for(rig, market, len(_taken_at(rig, market)))
        waits = {name: sorted(_waits(rig, market)) for name, market in markets.items()}
        for name, quantile in (("p50", 0.50), ("p99", 0.99)):
            own, peer = (_quantile(waits[side], quantile) * 1000 for side in ("ticker", "peer"))
            yield Result(NAME, f"accepted-to-broker-{name}", own, "ms", PEER, peer, peer / own)
        market = _market(rig, steady, int(markets["ticker"].address.rsplit(":", 1)[1]))
        yield from _how_steadily(rig, market)


def _how_steadily(rig: Rig, market: Market) -> Iterator[Result]:
    """More than an account may send, for a while: what arrives of it, and the worst calendar second."""
    _place_evenly(market, STEADY_ORDERS * STEADY_ACCOUNTS, STEADY_SECONDS)
    time.sleep(2)
    arrivals = _arrivals(rig, market)
    # The last whole part, after the budget of the start is used up, while there is always something that waits.
    rates, worst = [], 0
    for user in market.accounts:
        moments = sorted(order.arrived_at for order in arrivals if order.user_id == user)
        whole = [at for at in moments if moments[0] + 3 <= at < moments[0] + STEADY_SECONDS]
        rates.append((len(whole) - 1) / (whole[-1] - whole[0]))
        calendar = [int(at) for at in moments]
        worst = max(worst, max(map(calendar.count, set(calendar))))
    yield Result(NAME, "sustained-by-account", min(rates), "orders/s", "", None, None)
    yield Result(NAME, "worst-calendar-second", worst, "orders", "broker-limit", 10.0, 10.0 / worst)


# --- how many --------------------------------------------------------------------------------------------------------


def _how_many() -> Iterator[Result]:
    traders = [Trader(number) for number in range(MOST_ACCOUNTS)]
    with Rig(traders, SETTINGS | WIDE) as rig:
        market = _market(rig, traders, rig.port())
        users = list(market.accounts)
        _role(rig, "fill", 1, market.price, *users)
        rig.add("worker", WORKER)
        _role(rig, "ring", *users)
        _wait_for(rig, market, len(users))  # its order books are read, and its connections open
        _role(rig, "fill", MOST_EACH, market.price, *users)
        worker = psutil.Process(rig["worker"].pid)
        before = _cpu_seconds(worker)
        _role(rig, "ring", *users)
        orders = len(users) * (MOST_EACH + 1)
        _wait_for(rig, market, orders)
        spent = _cpu_seconds(worker) - before
        moments = sorted(order.arrived_at for order in _arrivals(rig, market))[len(users) :]
        yield Result(
            NAME, f"one-worker-{MOST_ACCOUNTS}-accounts", (len(moments) - 1) / (moments[-1] - moments[0]), "tasks/s",
            "", None, None,
        )  # fmt: skip
        yield Result(NAME, "one-worker-cpu", spent / len(moments) * 1000, "ms/task", "", None, None)


def _cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


# --- below -----------------------------------------------------------------------------------------------------------


def _market(rig: Rig, traders: Sequence[Trader], port: int) -> Market:
    numbers = [str(trader.number) for trader in traders]
    told = json.loads(rig.run(PYTHON, "-m", "benchmarks.soak.steps", "prepare", *numbers).splitlines()[-1])
    return Market(address=f"http://127.0.0.1:{port}", **told)


def _role(rig: Rig, *arguments: object) -> None:
    rig.run(PYTHON, "-m", "benchmarks.order_roles", *map(str, arguments))


def _warm_up(rig: Rig, name: str, market: Market) -> None:
    """One order of each account, so that its book was read."""
    _place_evenly(market, 10.0, len(market.accounts) / 10.0)
    _wait_for(rig, market, len(market.accounts))


def _place_evenly(market: Market, rate: float, seconds: float) -> None:
    """So many orders a second for so long, an account after the other."""
    threads = [
        threading.Thread(target=_trade, args=(market, user, rate / len(market.accounts), seconds, number / rate))
        for number, user in enumerate(market.accounts)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _trade(market: Market, user: str, rate: float, seconds: float, after_seconds: float) -> None:
    """One account's orders by REST at an even pace."""
    session = requests.Session()
    session.trust_env = False
    session.headers["X-API-Key"] = market.key
    body: dict[str, Any] = {
        "account": market.accounts[user], "exchange": "NSE", "tradingsymbol": market.symbol, "quantity": 1,
        "transaction_type": "BUY", "product": "MIS", "order_type": "LIMIT", "allow_duplicate": True,
    }  # fmt: skip
    began = time.monotonic() + after_seconds
    for number in range(max(1, round(rate * seconds))):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        key = {"Idempotency-Key": f"{began}-{number}"}
        priced = body | {"price": f"{market.price + number % 40}"}
        session.post(f"{market.address}/api/v1/orders", json=priced, headers=key, timeout=30).raise_for_status()


def _waits(rig: Rig, market: Market) -> list[float]:
    """Seconds from the commit that took an order on to its arrival; without the warm-up's."""
    arrived = {order.tag: order.arrived_at for order in _arrivals(rig, market)}
    taken = _taken_at(rig, market)
    first = set(list(taken)[: len(market.accounts)])
    return [arrived[tag] - at for tag, at in taken.items() if tag not in first]


def _taken_at(rig: Rig, market: Market) -> Mapping[str, float]:
    """By tag, unix seconds of the commit: that of the first event, whose row nothing changes afterwards."""
    query = """
        select task.tag, extract(epoch from pg_xact_commit_timestamp(event.xmin))::float8
          from orders_ordertask as task join accounts_tradingaccount as account on account.id = task.account_id
          join orders_orderevent as event on event.task_id = task.id and event.number = 1
         where account.kite_user_id = any(%s) order by task.id
    """
    with psycopg.connect(rig.environment["DATABASE_URL"]) as connection:
        return dict(connection.execute(query, [list(market.accounts)]).fetchall())


def _arrivals(rig: Rig, market: Market) -> list[AcceptedOrder]:
    control = SimulatorControl(rig.environment["KITE_API_ROOT"], CONTROL_TOKEN, timeout_seconds=30)
    try:
        return [order for order in control.orders() if order.user_id in market.accounts]
    finally:
        control.close()


def _wait_for(rig: Rig, market: Market, orders: int, seconds: float = 120.0) -> None:
    """By the rows, a count a time: asking the broker for all its orders would take time from what is measured."""
    query = """
        select count(*) from orders_ordertask as task
          join accounts_tradingaccount as account on account.id = task.account_id
         where account.kite_user_id = any(%s) and task.status = 'completed'
    """
    until = time.monotonic() + seconds
    with psycopg.connect(rig.environment["DATABASE_URL"], autocommit=True) as connection:
        while True:
            ((completed,),) = connection.execute(query, [list(market.accounts)]).fetchall()
            if completed >= orders:
                return
            if time.monotonic() > until:
                raise RuntimeError(f"of {orders} orders {completed} were completed within {seconds:.0f} s")
            time.sleep(0.5)


def _quantile(ordered: Sequence[float], share: float) -> float:
    return statistics.quantiles(ordered, n=1000, method="inclusive")[round(share * 1000) - 1]
