"""What a simulator is started with."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import pyotp

from simulator.rules import Rules

_MOST_CASH, _MOST_SHARES = 1e12, 100_000_000
_DEMO_HOLDINGS: Mapping[str, int] = MappingProxyType({"INFY": 100, "RELIANCE": 50, "SBIN": 200})


class InvalidOptions(ValueError):
    """The simulator cannot start like this; the message says what to change."""


@dataclass(frozen=True, slots=True)
class DemoUser:
    """Somebody who can log in. `totp_secret` is base32, as an authenticator app takes it.

    `cash` (rupees) and `holdings` (shares of NSE) are what the account begins with.
    """

    user_id: str
    password: str
    totp_secret: str
    name: str = "Demo Trader"
    email: str = "demo@example.com"
    cash: float = 1_000_000.0
    holdings: Mapping[str, int] = field(default_factory=lambda: dict(_DEMO_HOLDINGS))

    def __post_init__(self) -> None:
        try:
            pyotp.TOTP(self.totp_secret).now()
        except ValueError as exc:
            raise InvalidOptions(
                f"user {self.user_id}: the TOTP secret is unusable ({exc}); 32 base32 digits do"
            ) from exc
        if not 0 <= self.cash <= _MOST_CASH:
            raise InvalidOptions(f"user {self.user_id}: cash must be 0 to {_MOST_CASH:.0f} rupees")
        shares = self.holdings.values() if isinstance(self.holdings, Mapping) else [None]
        if not all(isinstance(number, int) and 0 < number <= _MOST_SHARES for number in shares):
            raise InvalidOptions(f"user {self.user_id}: holdings are numbers of shares, like INFY = 100")


@dataclass(frozen=True, slots=True)
class DemoApp:
    """An app of the developer console. Without `market_data` it is the free kind: no quotes, candles or WebSocket.

    `postback_url` is told what becomes of orders placed with this app; none is told without it.
    """

    api_key: str
    api_secret: str
    redirect_url: str
    market_data: bool = True
    postback_url: str = ""


# Public on purpose: they open nothing but this simulator, and the README and the login page show them.
DEMO_USER = DemoUser(user_id="AB1234", password="simulator", totp_secret="JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
DEMO_REDIRECT_URL = "http://127.0.0.1:8080/accounts/kite/callback/"
DEMO_APP = DemoApp(api_key="simkey1", api_secret="simsecret1", redirect_url=DEMO_REDIRECT_URL)


@dataclass(frozen=True, slots=True)
class SimulatorOptions:
    """Everything about one simulator.

    `sessions_folder` holds `regular_hours.csv` and `session_exceptions.csv`; `port` 0 takes a free one;
    `rows` is the least size of the instrument dump (30,000 to 115,000); `activity` multiplies how often
    instruments trade; the `market_clock…` values mean what they mean to the service (`simulator.clock`);
    `order_ms` pass between an order's states, 0 for none; `control_token` opens the control API (`simulator.faults`),
    which is off without it. With a `state_file` the day's trading outlives a restart.
    """

    sessions_folder: Path
    host: str = "127.0.0.1"
    port: int = 0
    seed: int = 1
    rows: int = 30_000
    activity: float = 1.0
    frame_ms: int = 100
    order_ms: int = 20
    market_clock: str = "real"
    market_clock_speed: float = 1.0
    market_clock_anchor: float = 0.0
    users: tuple[DemoUser, ...] = (DEMO_USER,)
    apps: tuple[DemoApp, ...] = (DEMO_APP,)
    rules: Rules = field(default_factory=Rules)
    control_token: str = field(default="", repr=False)
    state_file: Path | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InvalidOptions(f"port {self.port} is not a TCP port; choose 1 to 65535, or 0 for a free one")
        if self.activity <= 0 or self.frame_ms < 10 or self.market_clock_speed <= 0:
            raise InvalidOptions("activity and clock speed must be above 0, frame_ms 10 or more")
        if self.order_ms < 0:
            raise InvalidOptions("order_ms must be 0 or more")
        if not self.users or not self.apps:
            raise InvalidOptions("a simulator needs at least one user and one app")
        if not (self.control_token.isascii() and self.control_token.isprintable()):
            raise InvalidOptions("SIMULATOR_CONTROL_TOKEN travels in a header: printable ASCII only")


def read_accounts(path: Path) -> tuple[tuple[DemoUser, ...], tuple[DemoApp, ...]]:
    """Users and apps from a TOML file with `[[users]]` and `[[apps]]` tables, whose keys are the fields above.

    Raises InvalidOptions when the file cannot be read or a table has a missing or unknown key.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        users = tuple(DemoUser(**table) for table in content.get("users", ()))
        apps = tuple(DemoApp(**table) for table in content.get("apps", ()))
    except (OSError, tomllib.TOMLDecodeError, TypeError) as exc:
        raise InvalidOptions(f"{path}: {exc}") from exc
    return users, apps
