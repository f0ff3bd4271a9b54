"""The official client's whole method surface over our own transport, by overriding its one request method."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin

import requests
from django.conf import settings
from kiteconnect import KiteConnect
from requests.auth import AuthBase

from accounts.broker.guard import Caller, GuardedCall, guarded
from accounts.broker.responses import data_of_response, error_of_transport
from accounts.exceptions import OutcomeUnknown
from accounts.models import TradingAccount
from accounts.sessions import access_token

CSV_CHUNK_BYTES = 64 * 1024
CSV_READ_TIMEOUT_SECONDS = 30.0


class BrokerClient(KiteConnect):  # type: ignore[misc]  # the official client has no types
    """`KiteConnect` whose calls never follow redirects, never retry, and raise the `BrokerError` family only.

    One client belongs to one thread: the official client's HTTP session is not documented as safe for several.
    """

    def __init__(self, api_key: str, token: str | None = None, *, account: str, urgent: bool = False) -> None:
        """
        Parameters
        ----------
        account : the Kite user id for whom it calls: its breakers and its places, and the app's budget, are kept.
        urgent : for cancels, exits and the reads that settle unknown orders (`accounts.broker.guard.Caller`).
        """
        super().__init__(
            api_key, access_token=token, root=settings.KITE_API_ROOT, timeout=settings.KITE_TIMEOUT_SECONDS
        )
        self._caller = Caller(account, api_key, urgent=urgent)

    def __repr__(self) -> str:
        return f"<BrokerClient of app {self.api_key}>"

    def _request(
        self,
        route: str,
        method: str,
        url_args: Mapping[str, Any] | None = None,
        params: Any = None,
        is_json: bool = False,
        query_params: Any = None,
    ) -> Any:
        """Send one request and give back its `data`; bytes for the CSV dumps. It waits for its turn, within bounds.

        Raises
        ------
        BrokerError
            `BudgetExhausted`, `PlacesTaken` and `BreakerOpen` among them: not sent, with the time to come again.
        """
        url = self._url(route, url_args)
        with guarded(self._caller, route):
            return self._send(method, url, params, is_json=is_json, query_params=query_params)

    def _send(self, method: str, url: str, params: Any, *, is_json: bool, query_params: Any) -> Any:
        in_query = method in ("GET", "DELETE")
        try:
            response = self.reqsession.request(
                method,
                url,
                params=params if in_query else query_params,
                json=params if is_json and not in_query else None,
                data=params if not is_json and not in_query else None,
                **self._transport(),
            )
        except requests.RequestException as exc:
            # Not `from exc`: the transport's own exception shows the URL, and some URLs carry a token.
            raise error_of_transport(exc) from None
        if _is_csv(response):
            return response.content
        return data_of_response(response.status_code, response.text, retry_after=response.headers.get("Retry-After"))

    def instruments_csv(self, exchange: str | None = None) -> Iterator[bytes]:
        """The instrument dump as it comes, in chunks of at most 64 KiB: some 10 MB that need not be held in memory.

        Parameters
        ----------
        exchange : one exchange's instruments only, e.g. ``NFO``; all if not given.

        Raises
        ------
        BrokerError
            At once if the broker refuses; while iterating if the connection is lost (`OutcomeUnknown`).
        """
        route = "market.instruments" if exchange else "market.instruments.all"
        url = self._url(route, {"exchange": exchange} if exchange else {})
        call = GuardedCall(self._caller, route)
        try:
            response = self._csv_response(url)
        except BaseException as exc:
            call.end(exc)
            raise
        return _chunks(response, call)

    def _csv_response(self, url: str) -> requests.Response:
        options = self._transport() | {"timeout": (self.timeout, CSV_READ_TIMEOUT_SECONDS)}
        try:
            response: requests.Response = self.reqsession.get(url, stream=True, **options)
        except requests.RequestException as exc:
            raise error_of_transport(exc) from None
        if _is_csv(response):
            return response
        with response:
            data_of_response(response.status_code, response.text, retry_after=response.headers.get("Retry-After"))
        raise OutcomeUnknown("the broker answered the instrument dump with something else than CSV")

    def _url(self, route: str, url_args: Mapping[str, Any] | None) -> str:
        # Quoted, slashes too: what is meant as one part of a path must not lead to another route.
        parts = {name: quote(str(value), safe="") for name, value in (url_args or {}).items()}
        if not {"", ".", ".."}.isdisjoint(parts.values()):
            raise ValueError(f"{url_args} would lead to another route than {route}")
        return urljoin(str(self.root), str(self._routes[route]).format(**parts))

    def _transport(self) -> dict[str, Any]:
        return {
            "headers": {"X-Kite-Version": self.kite_header_version, "User-Agent": self._user_agent()},
            "auth": _KiteToken(self.api_key, self.access_token),
            "allow_redirects": False,
            "timeout": self.timeout,
        }


class _KiteToken(AuthBase):
    """The broker's own form of Authorization. As `auth`, so that a .netrc of the machine cannot replace it."""

    def __init__(self, api_key: str, token: str | None) -> None:
        self._header = f"token {api_key}:{token}" if token else None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header:
            request.headers["Authorization"] = self._header
        return request


def session(account: TradingAccount, *, urgent: bool = False) -> BrokerClient:
    """A client that acts for `account` with its token of the day; `urgent` as for `BrokerClient`.

    Raises
    ------
    SessionExpired
        If the account is not logged in.
    """
    return BrokerClient(account.app.api_key, access_token(account), account=account.kite_user_id, urgent=urgent)


def anonymous_client(account: TradingAccount) -> BrokerClient:
    """A client of the account's app without a token: for the calls that make one."""
    return BrokerClient(account.app.api_key, account=account.kite_user_id)


def _is_csv(response: requests.Response) -> bool:
    return bool(response.status_code == HTTPStatus.OK and "csv" in response.headers.get("content-type", ""))


def _chunks(response: requests.Response, call: GuardedCall) -> Iterator[bytes]:
    """The answer's body, piece by piece. The call ends with it: all of it, an error, or a reader that stops."""
    try:
        with response:
            for chunk in response.iter_content(CSV_CHUNK_BYTES):
                call.place.keep()
                yield chunk
    except requests.RequestException as exc:
        broken_off = OutcomeUnknown(f"the instrument dump broke off: {type(exc).__name__}")
        call.end(broken_off)
        raise broken_off from None
    finally:
        call.end()
