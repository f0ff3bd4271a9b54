"""Three ways to a token of the day, all ending in `accounts.sessions.store_session`, and the way out.

The usual one is a person at the broker's own login page; a token made elsewhere may be pasted. The automated one types
password and TOTP code into the login page's form: the broker discourages it and may change the form any day, so it is
for accounts that have opted in.
"""

from typing import Any
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import pyotp
import requests
from django.conf import settings

from accounts.broker.clients import session_client
from accounts.broker.responses import data_of_response
from accounts.broker.transport import body_of, broker_session, exchange
from accounts.credentials import read_secret
from accounts.exceptions import LoginFailed, RequestRejected, SessionExpired
from accounts.models import BrokerCredential, BrokerSession, TradingAccount
from accounts.sessions import end_session, store_session, token_of_the_day

LONGEST_REDIRECT_CHAIN = 6


def login_page_address(account: TradingAccount, *, state: str) -> str:
    """Where a person logs in at the broker. The page sends them back to the app's address, with `state`."""
    query = {"v": "3", "api_key": account.app.api_key, "redirect_params": urlencode({"state": state})}
    return f"{settings.KITE_LOGIN_ROOT}/connect/login?{urlencode(query)}"


def exchange_request_token(account: TradingAccount, request_token: str) -> BrokerSession:
    """Turn a request token (single use, good for minutes) into the account's session.

    Raises
    ------
    BrokerError, CredentialError, SessionMismatch
    """
    secret = read_secret(account.app, BrokerCredential.Kind.API_SECRET)
    return store_session(account, session_client(account).exchange(request_token, secret))


def accept_access_token(account: TradingAccount, token: str) -> BrokerSession:
    """Take over a token that was made elsewhere, after asking the broker whose it is.

    Raises
    ------
    BrokerError, SessionMismatch
        `SessionExpired` if the broker does not know it.
    """
    user_id = session_client(account).user_of(token)
    return store_session(account, {"user_id": user_id, "access_token": token})


def log_out(account: TradingAccount) -> None:
    """End the account's session, here first and then at the broker; nothing happens if it is not logged in.

    Raises
    ------
    BrokerError
        Nobody here has the token any more, but the broker did not confirm its end.
    """
    try:
        token = token_of_the_day(account)
    except SessionExpired:
        return
    end_session(account)
    try:
        session_client(account).log_out(token.text)
    except SessionExpired:
        return  # it had ended before


def log_in_automatically(account: TradingAccount) -> BrokerSession:
    """Log in with the stored password and TOTP seed. It is never repeated by itself: some tries lock the account.

    Raises
    ------
    LoginFailed
        If the account has not opted in, or the form does not lead to a request token; log in through the link then.
    BrokerError, CredentialError, SessionMismatch
    """
    if not account.automated_login:
        raise LoginFailed(f"{account} has not opted in to automated logins; log in through the link")
    password = read_secret(account, BrokerCredential.Kind.PASSWORD)
    try:
        totp = pyotp.TOTP(read_secret(account, BrokerCredential.Kind.TOTP_SEED).replace(" ", ""))
    except ValueError as exc:
        raise LoginFailed(f"the TOTP seed of {account} is none ({exc}): it is the text under the QR code") from None
    return exchange_request_token(account, _request_token(account, password, totp))


def _request_token(account: TradingAccount, password: str, totp: pyotp.TOTP) -> str:
    with broker_session(settings.KITE_LOGIN_ROOT) as browser:
        first = _submit(browser, "/api/login", {"user_id": account.kite_user_id, "password": password})
        second = {
            "user_id": account.kite_user_id,
            "request_id": first["request_id"],
            "twofa_type": first.get("twofa_type", "totp"),
            "twofa_value": totp.now(),
        }
        _submit(browser, "/api/twofa", second)
        address = f"{settings.KITE_LOGIN_ROOT}/connect/login?{urlencode({'v': '3', 'api_key': account.app.api_key})}"
        for _ in range(LONGEST_REDIRECT_CHAIN):
            target = _redirect_target(browser, address)
            if token := parse_qs(urlsplit(target).query).get("request_token"):
                return token[0]  # read, not fetched: it is the address of our own callback
            address = target
    raise LoginFailed("the broker's login led nowhere; is the app's consent given? Log in through the link once")


def _submit(browser: requests.Session, path: str, form: dict[str, str]) -> dict[str, Any]:
    with exchange(
        browser, "POST", settings.KITE_LOGIN_ROOT + path, data=form, seconds=settings.KITE_TIMEOUT_SECONDS
    ) as response:
        text = body_of(response).decode("utf-8", errors="replace")
    try:
        data = data_of_response(response.status_code, text)
    except RequestRejected as exc:
        raise LoginFailed(f"the broker's login refused {path}: {exc}") from exc
    if not isinstance(data, dict):
        raise LoginFailed(f"the broker's login form has changed: {path} answered no object; log in through the link")
    return data


def _redirect_target(browser: requests.Session, address: str) -> str:
    if urlsplit(address).netloc != urlsplit(settings.KITE_LOGIN_ROOT).netloc:
        raise LoginFailed(f"the broker's login led to {urlsplit(address).netloc} without a request token")
    with exchange(browser, "GET", address, seconds=settings.KITE_TIMEOUT_SECONDS) as response:
        body_of(response)
    if not response.is_redirect:
        raise LoginFailed(f"the broker's login page answered {response.status_code} instead of going on; use the link")
    return urljoin(address, response.headers["Location"])
