"""The official client's whole method surface over our own transport, by overriding its one request method."""

from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urljoin

import requests
from django.conf import settings
from kiteconnect import KiteConnect
from requests.auth import AuthBase

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

    def __init__(self, api_key: str, token: str | None = None) -> None:
        super().__init__(
            api_key, access_token=token, root=settings.KITE_API_ROOT, timeout=settings.KITE_TIMEOUT_SECONDS
        )

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
        """Send one request and give back its `data`; bytes for the CSV dumps."""
        in_query = method in ("GET", "DELETE")
        try:
            response = self.reqsession.request(
                method,
                self._url(route, url_args),
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
        route = ("market.instruments", {"exchange": exchange}) if exchange else ("market.instruments.all", {})
        options = self._transport() | {"timeout": (self.timeout, CSV_READ_TIMEOUT_SECONDS)}
        try:
            response = self.reqsession.get(self._url(*route), stream=True, **options)
        except requests.RequestException as exc:
            raise error_of_transport(exc) from None
        if _is_csv(response):
            return _chunks(response)
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


def session(account: TradingAccount) -> BrokerClient:
    """A client that acts for `account` with its token of the day.

    Raises
    ------
    SessionExpired
        If the account is not logged in.
    """
    return BrokerClient(account.app.api_key, access_token(account))


def anonymous_client(account: TradingAccount) -> BrokerClient:
    """A client of the account's app without a token: for the calls that make one."""
    return BrokerClient(account.app.api_key)


def _is_csv(response: requests.Response) -> bool:
    return bool(response.status_code == HTTPStatus.OK and "csv" in response.headers.get("content-type", ""))


def _chunks(response: requests.Response) -> Iterator[bytes]:
    with response:
        try:
            yield from response.iter_content(CSV_CHUNK_BYTES)
        except requests.RequestException as exc:
            raise OutcomeUnknown(f"the instrument dump broke off: {type(exc).__name__}") from None
