"""Programs that trade, a thread for each account: they ask by REST, insist on an answer, and keep a record."""

import random
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import requests

from benchmarks.soak.history import Answer, Asked, Kind

INSIST_SECONDS, PAUSE_SECONDS, TIMEOUT_SECONDS = 300.0, 0.2, 10.0
AGAIN, CALLS_AT_ONCE = 0.15, 3  # a share of the keys is sent several times at once
OTHER_ORDER = 0.05  # and a share once more, with another order
CHANGES, LEAST_AGE = 0.25, 5  # a share of the turns changes or cancels an order at least so many turns old
OPENING_SECONDS = 10.0
ENDED = frozenset({"completed", "failed", "dead_letter"})


@dataclass(frozen=True, slots=True)
class Market:
    """Where the clients trade, and what: as `benchmarks.soak.steps prepare` says it."""

    address: str
    key: str
    accounts: Mapping[str, str]  # user id -> public id
    symbol: str
    price: int


class Clients:
    """All of them. `history` grows while they run; `placed` and `closing` are how many orders came first and last."""

    def __init__(self, market: Market, *, seed: int, rate: float, quiet: frozenset[str]) -> None:
        self._market, self._seed, self._quiet = market, seed, quiet
        self._pause = len(market.accounts) / rate
        self._sessions = threading.local()
        self.history: list[Asked] = []
        self.placed = 0
        self.closing = 0

    def trade(self, orders: int, on_progress: Callable[[int], None]) -> None:
        """Place so many orders in all, and whatever goes with them."""
        users = list(self._market.accounts)
        shares = [len(range(place, orders, len(users))) for place in range(len(users))]
        with ThreadPoolExecutor(len(users)) as pool:
            trading = [pool.submit(self._trade, user, share) for user, share in zip(users, shares, strict=True)]
            while not all(one.done() for one in trading):
                on_progress(self.placed)
                time.sleep(0.2)
            for one in trading:
                one.result()

    def close(self, users: Iterable[str], *, name: str = "last") -> None:
        """One more order of each of these accounts: in its book it shows that the book is new."""
        for user in users:
            self._insist(self._new(user, f"{self._seed}-{user}-{name}", random.Random(0)))
            self.closing += 1

    # --- one account ------------------------------------------------------------------------------------------------

    def _trade(self, user: str, orders: int) -> None:
        dice = random.Random(f"{self._seed}:{user}")
        mine: list[Asked] = []
        for number in range(orders):
            asked = self._new(user, f"{self._seed}-{user}-{number}", dice)
            if dice.random() < AGAIN:
                with ThreadPoolExecutor(CALLS_AT_ONCE) as together:
                    list(together.map(self._insist, [asked] * CALLS_AT_ONCE))
            else:
                self._insist(asked)
            self.placed += 1
            mine.append(asked)
            if dice.random() < OTHER_ORDER:
                other = asked.body | {"quantity": asked.body["quantity"] + 1}  # type: ignore[operator]
                self._insist(self._keep(Asked(Kind.PLACE, user, asked.key, other)))
            if number == 0 and user in self._quiet:
                self._wait_for_the_outcome(asked)
            if number >= LEAST_AGE and dice.random() < CHANGES:
                self._change(user, dice.choice(mine[:-LEAST_AGE]), f"{asked.key}-change", dice)
            time.sleep(dice.expovariate(1 / self._pause))

    def _new(self, user: str, key: str, dice: random.Random) -> Asked:
        body = {
            "exchange": "NSE",
            "tradingsymbol": self._market.symbol,
            "transaction_type": "BUY",
            "quantity": dice.randint(1, 5),
            "product": "MIS",
            "order_type": "LIMIT",
            "price": f"{self._market.price + dice.randrange(60) * 0.5:.2f}",
        }
        return self._keep(Asked(Kind.PLACE, user, key, body))

    def _change(self, user: str, about: Asked, key: str, dice: random.Random) -> None:
        for task in about.tasks:
            if dice.random() < 0.5:
                changed = Asked(Kind.CANCEL, user, key, {}, task)
            else:
                price = f"{self._market.price - dice.randrange(1, 60) * 0.5:.2f}"
                changed = Asked(Kind.MODIFY, user, key, {"price": price}, task)
            self._insist(self._keep(changed))

    def _keep(self, asked: Asked) -> Asked:
        self.history.append(asked)
        return asked

    def _wait_for_the_outcome(self, asked: Asked) -> None:
        until = time.monotonic() + OPENING_SECONDS
        while time.monotonic() < until:
            for task in asked.tasks:
                try:
                    answer = self._session.get(self._url(f"/{task}"), timeout=TIMEOUT_SECONDS)
                    if answer.ok and answer.json()["status"] in ENDED:
                        return
                except requests.RequestException:
                    pass
            time.sleep(PAUSE_SECONDS)

    # --- asking -----------------------------------------------------------------------------------------------------

    def _insist(self, asked: Asked) -> None:
        """Ask under the same key until there is an answer that another try would not change."""
        until = time.monotonic() + INSIST_SECONDS
        while True:
            answer = self._ask(asked)
            asked.answers.append(answer)
            if answer.is_final or time.monotonic() > until:
                return
            time.sleep(PAUSE_SECONDS)

    def _ask(self, asked: Asked) -> Answer:
        method, path, body = self._call(asked)
        try:
            response = self._session.request(
                method, path, json=body, headers={"Idempotency-Key": asked.key}, timeout=TIMEOUT_SECONDS
            )
            told = response.json()
        except (requests.RequestException, ValueError):
            return Answer(None)
        if response.ok:
            return Answer(response.status_code, task=told["id"])
        return Answer(response.status_code, code=told["error"]["code"])

    def _call(self, asked: Asked) -> tuple[str, str, dict[str, Any] | None]:
        match asked.kind:
            case Kind.PLACE:
                account = {"account": self._market.accounts[asked.user_id], "allow_duplicate": True}
                return "POST", self._url(""), account | dict(asked.body)
            case Kind.MODIFY:
                return "PATCH", self._url(f"/{asked.about}"), dict(asked.body)
            case Kind.CANCEL:
                return "DELETE", self._url(f"/{asked.about}"), None

    def _url(self, path: str) -> str:
        return f"{self._market.address}/api/v1/orders{path}"

    @property
    def _session(self) -> requests.Session:
        """One for each thread, as `requests` wants it."""
        session: requests.Session | None = getattr(self._sessions, "session", None)
        if session is None:
            session = self._sessions.session = requests.Session()
            session.trust_env = False
            session.headers["X-API-Key"] = self._market.key
        return session
