"""Who is logged in: passwords and codes, request tokens, access tokens and their daily end."""

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyotp

from simulator.clock import IST, Clock
from simulator.options import DemoApp, DemoUser
from simulator.refusals import Refused
from simulator.rules import Rules

FLUSH_HOUR = 6  # IST: access tokens of the day before end here
REQUEST_TOKEN_SECONDS = 300
_TRIES_BEFORE_LOCK = 5
_LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Access:
    """A live access token. `logged_in_at` is market time, Unix seconds."""

    user: DemoUser
    app: DemoApp
    token: str
    logged_in_at: float


def checksum(api_key: str, token: str, api_secret: str) -> str:
    """Lower-case hex SHA-256 of the three texts joined without a separator, as the broker asks for."""
    return hashlib.sha256(f"{api_key}{token}{api_secret}".encode()).hexdigest()


class Logins:
    """Logins of all users to all apps.

    An access token carries its login time and is signed, so that restarting the simulator logs nobody out.
    """

    def __init__(
        self,
        users: tuple[DemoUser, ...],
        apps: tuple[DemoApp, ...],
        rules: Rules,
        clock: Clock,
        system_clock: Callable[[], float] = time.time,
    ) -> None:
        self.users = {user.user_id: user for user in users}
        self.apps = {app.api_key: app for app in apps}
        self._rules = rules
        self._clock = clock
        self._system_clock = system_clock
        # Whose signature a token has does not change, and each call asks: only true tokens get in, which are few.
        self._owners: dict[tuple[str, str], Access] = {}
        self._pending: dict[str, DemoUser] = {}  # request_id of a login that still needs its code
        self._cookies: dict[str, DemoUser] = {}
        self._request_tokens: dict[str, tuple[DemoUser, DemoApp, float]] = {}
        self._current: dict[tuple[str, str], Access] = {}
        self._ended: set[str] = set()
        self._wrong_tries: dict[str, tuple[int, float]] = {}
        self.on_end: Callable[[str], None] = lambda _: None  # told each access token that ends before its day

    # --- the form: password, then code ------------------------------------------------------------------------------

    def check_password(self, user_id: str, password: str) -> str:
        """First step. Returns the request_id that the second step needs."""
        user = self.users.get(user_id.strip().upper())
        if user is None:
            raise Refused.input("User profile not found")
        self._refuse_if_locked(user)
        if not hmac.compare_digest(user.password.encode(), password.encode()):
            self._count_wrong_try(user)
            raise Refused.input("Invalid username or password.")
        request_id = secrets.token_urlsafe(48)
        self._pending[request_id] = user
        return request_id

    def check_code(self, user_id: str, request_id: str, code: str) -> str:
        """Second step. Returns the value of the browser's session cookie. Codes run on real time, as on a phone."""
        user = self._pending.get(request_id)
        if user is None or user.user_id != user_id.strip().upper():
            raise Refused.input("Invalid `request_id`.")
        self._refuse_if_locked(user)
        totp = pyotp.TOTP(user.totp_secret)
        if not totp.verify(code.strip(), for_time=int(self._system_clock()), valid_window=1):
            self._count_wrong_try(user)
            raise Refused(403, "TwoFAException", "Invalid TOTP")
        del self._pending[request_id]
        self._wrong_tries.pop(user.user_id, None)
        cookie = secrets.token_urlsafe(24)
        self._cookies[cookie] = user
        return cookie

    def user_of_cookie(self, cookie: str | None) -> DemoUser | None:
        return self._cookies.get(cookie or "")

    def _refuse_if_locked(self, user: DemoUser) -> None:
        tries, since = self._wrong_tries.get(user.user_id, (0, 0.0))
        if tries >= _TRIES_BEFORE_LOCK and self._system_clock() - since < _LOCK_SECONDS:
            raise Refused.input("Account is blocked after too many wrong attempts. Try again in a minute.")

    def _count_wrong_try(self, user: DemoUser) -> None:
        tries, _ = self._wrong_tries.get(user.user_id, (0, 0.0))
        self._wrong_tries[user.user_id] = (tries + 1, self._system_clock())

    # --- tokens -----------------------------------------------------------------------------------------------------

    def request_token(self, user: DemoUser, app: DemoApp) -> str:
        """A token for one exchange within five minutes, which the browser carries to the app."""
        token = _alphanumeric(32)
        self._request_tokens[token] = (user, app, self._system_clock())
        return token

    def exchange(self, api_key: str, request_token: str, given_checksum: str) -> Access:
        """The access token for a request token. The attempt uses it up only when the checksum is right."""
        app = self.apps.get(api_key)
        if app is None:
            raise Refused.input("Invalid `api_key`.")
        user, issued_for, issued_at = self._request_tokens.get(request_token, (None, None, 0.0))
        if user is None or issued_for is not app or self._system_clock() - issued_at > REQUEST_TOKEN_SECONDS:
            raise Refused.token("Token is invalid or has expired.")
        if not hmac.compare_digest(checksum(api_key, request_token, app.api_secret), given_checksum.lower()):
            raise Refused.input("Invalid `checksum`.")
        del self._request_tokens[request_token]
        return self._log_in(user, app)

    def _log_in(self, user: DemoUser, app: DemoApp) -> Access:
        earlier = self._current.get((user.user_id, app.api_key))
        if earlier is not None and self._is_live(earlier):
            if not self._rules.second_login_replaces:
                return earlier
            self.end(earlier.token)
        now = int(self._clock.timestamp())
        access = Access(user, app, _signed_token(user, app, now, secrets.token_hex(4)), float(now))
        self._current[user.user_id, app.api_key] = access
        return access

    def access(self, api_key: str, access_token: str) -> Access | None:
        """The login behind a pair of api key and access token, or None when it is none or has ended."""
        access = self.owner(api_key, access_token)
        if access is None or not self._is_live(access):
            return None
        # A token from before a restart is known from its first use on.
        self._current.setdefault((access.user.user_id, api_key), access)
        return access

    def owner(self, api_key: str, access_token: str) -> Access | None:
        """The login that this pair was made for, whether it is live or not."""
        if (known := self._owners.get((api_key, access_token))) is not None:
            return known
        app = self.apps.get(api_key)
        if app is None:
            return None
        for user in self.users.values():
            if (logged_in_at := _login_time(user, app, access_token)) is not None:
                found = self._owners[api_key, access_token] = Access(user, app, access_token, logged_in_at)
                return found
        return None

    def live(self) -> list[Access]:
        """The logins that are live and known since the start: made or used."""
        return [access for access in self._current.values() if self._is_live(access)]

    def end(self, access_token: str) -> None:
        """Log out: the token is dead from now on."""
        self._ended.add(access_token)
        self.on_end(access_token)

    def _is_live(self, access: Access) -> bool:
        if access.token in self._ended:
            return False
        return not self._rules.token_flush or access.logged_in_at >= last_flush(self._clock.timestamp())


def last_flush(timestamp: float) -> float:
    """The latest 06:00 IST up to that moment (Unix seconds both): tokens from before it are dead."""
    moment = datetime.fromtimestamp(timestamp, IST)
    flush = moment.replace(hour=FLUSH_HOUR, minute=0, second=0, microsecond=0)
    return (flush if flush <= moment else flush - timedelta(days=1)).timestamp()


def _alphanumeric(length: int) -> str:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(secrets.choice(alphabet) for _ in range(length))


def _signed_token(user: DemoUser, app: DemoApp, logged_in_at: int, nonce: str) -> str:
    """32 characters, as the broker's: a nonce and the login time, both 8 hex digits, and 16 of their signature."""
    content = f"{nonce}{logged_in_at:08x}"
    key = f"{app.api_secret}:{user.password}".encode()
    signature = hmac.new(key, f"{app.api_key}:{user.user_id}:{content}".encode(), hashlib.sha256).hexdigest()
    return content + signature[:16]


def _login_time(user: DemoUser, app: DemoApp, token: str) -> float | None:
    try:
        nonce, logged_in_at, given = token[:8], int(token[8:16], 16), token.encode()
    except ValueError:  # also from what a header may hold and UTF-8 may not
        return None
    expected = _signed_token(user, app, logged_in_at, nonce)
    return float(logged_in_at) if hmac.compare_digest(expected.encode(), given) else None
