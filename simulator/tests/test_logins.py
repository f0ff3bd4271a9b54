"""Tokens: how they are made, used up, and ended."""

from collections.abc import Callable

import pyotp
import pytest

from simulator.logins import Access, Logins, checksum
from simulator.options import DEMO_APP, DEMO_USER
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.tests.running import OPEN, SetClock

NewLogins = Callable[..., Logins]


@pytest.fixture
def system_clock() -> SetClock:
    return SetClock(1_795_000_000.0)


@pytest.fixture
def new_logins(open_clock: SetClock, system_clock: SetClock) -> NewLogins:
    def make(**switches: bool) -> Logins:
        return Logins((DEMO_USER,), (DEMO_APP,), Rules(**switches), open_clock, system_clock)

    return make


def log_in(logins: Logins) -> Access:
    token = logins.request_token(DEMO_USER, DEMO_APP)
    return logins.exchange(DEMO_APP.api_key, token, checksum(DEMO_APP.api_key, token, DEMO_APP.api_secret))


def is_live(logins: Logins, access: Access) -> bool:
    return logins.access(DEMO_APP.api_key, access.token) is not None


@pytest.mark.parametrize(
    ("token", "expected"),
    [
        ("reqtok456", "2219b52f23bb6140e7217ddc7a8a898be2133a37de39ad9f736cf9ae5319c27b"),
        ("reftok456", "92fb8a6d57b9bf834324fabd3aec94d2501ad1eae9a8c75ed88a46be29089281"),
    ],
)
def test_the_checksum_is_the_hash_of_key_token_and_secret(token: str, expected: str) -> None:
    assert checksum("key123", token, "secret789") == expected


def test_a_request_token_works_once(new_logins: NewLogins) -> None:
    logins = new_logins()
    token = logins.request_token(DEMO_USER, DEMO_APP)
    right = checksum(DEMO_APP.api_key, token, DEMO_APP.api_secret)
    logins.exchange(DEMO_APP.api_key, token, right)
    with pytest.raises(Refused, match="Token is invalid or has expired"):
        logins.exchange(DEMO_APP.api_key, token, right)


def test_a_wrong_checksum_is_refused_and_uses_nothing_up(new_logins: NewLogins) -> None:
    logins = new_logins()
    token = logins.request_token(DEMO_USER, DEMO_APP)
    with pytest.raises(Refused, match="Invalid `checksum`"):
        logins.exchange(DEMO_APP.api_key, token, checksum(DEMO_APP.api_key, token, "another secret"))
    assert logins.exchange(DEMO_APP.api_key, token, checksum(DEMO_APP.api_key, token, DEMO_APP.api_secret))


def test_a_request_token_lives_for_five_minutes(new_logins: NewLogins, system_clock: SetClock) -> None:
    logins = new_logins()
    token = logins.request_token(DEMO_USER, DEMO_APP)
    system_clock.moment += 301
    with pytest.raises(Refused, match="has expired"):
        logins.exchange(DEMO_APP.api_key, token, checksum(DEMO_APP.api_key, token, DEMO_APP.api_secret))


def test_a_second_login_ends_the_first(new_logins: NewLogins) -> None:
    logins = new_logins()
    first, second = log_in(logins), log_in(logins)
    assert first.token != second.token
    assert [is_live(logins, first), is_live(logins, second)] == [False, True]


def test_a_second_login_may_return_the_same_token(new_logins: NewLogins) -> None:
    logins = new_logins(second_login_replaces=False)
    assert log_in(logins).token == log_in(logins).token


def test_a_token_survives_a_restart_of_the_simulator(new_logins: NewLogins) -> None:
    access = log_in(new_logins())
    assert is_live(new_logins(), access)


def test_a_made_up_token_is_no_token(new_logins: NewLogins) -> None:
    logins = new_logins()
    access = log_in(logins)
    forged = access.token[:-1] + ("0" if access.token[-1] != "0" else "1")
    assert not any(logins.access(DEMO_APP.api_key, token) for token in ("", "x", "ü" * 32, forged))


def test_the_daily_flush_is_a_switch(new_logins: NewLogins, open_clock: SetClock) -> None:
    flushing, lasting = new_logins(), new_logins(token_flush=False)
    access, lasting_access = log_in(flushing), log_in(lasting)
    open_clock.moment = OPEN + 86_400
    assert [is_live(flushing, access), is_live(lasting, lasting_access)] == [False, True]


def test_five_wrong_passwords_block_the_account_for_a_minute(new_logins: NewLogins, system_clock: SetClock) -> None:
    logins = new_logins()
    for _ in range(5):
        with pytest.raises(Refused, match="Invalid username or password"):
            logins.check_password("AB1234", "wrong")
    with pytest.raises(Refused, match="blocked"):
        logins.check_password("AB1234", DEMO_USER.password)
    system_clock.moment += 61
    assert logins.check_password("AB1234", DEMO_USER.password)


def test_the_code_must_be_the_current_one(new_logins: NewLogins, system_clock: SetClock) -> None:
    logins = new_logins()
    request_id = logins.check_password("ab1234", DEMO_USER.password)
    stale = pyotp.TOTP(DEMO_USER.totp_secret).at(int(system_clock.moment) - 600)
    with pytest.raises(Refused, match="Invalid TOTP"):
        logins.check_code("AB1234", request_id, stale)
    current = pyotp.TOTP(DEMO_USER.totp_secret).at(int(system_clock.moment))
    assert logins.user_of_cookie(logins.check_code("AB1234", request_id, current)) is DEMO_USER
