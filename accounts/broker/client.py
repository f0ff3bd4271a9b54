"""The official client's whole method surface over our own transport, by overriding its one request method."""

from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any
from urllib.parse import urljoin

import requests
from django.conf import settings
from kiteconnect import KiteConnect
from requests.auth import AuthBase

from accounts.broker.guard import Caller, GuardedCall, guarded
from accounts.broker.paths import path_of
from accounts.broker.responses import data_of_response
from accounts.broker.transport import body_of, broker_session, chunks_of, exchange, is_csv
from accounts.exceptions import BrokerError, OutcomeUnknown, SessionExpired

# The instrument dump is prepared while one waits, and comes through a reader that stores it.
CSV_SECONDS = 300.0
CSV_SILENCE_SECONDS = 30.0


class BrokerClient(KiteConnect):  # type: ignore[misc]  # the official client has no types
    """`KiteConnect` whose calls never follow redirects, never retry, and raise the `BrokerError` family only.

    One client belongs to one thread: the official client's HTTP session is not documented as safe for several.
    """

    def __init__(
        self,
        api_key: str,
        token: str | None = None,
        *,
        account: str,
        urgent: bool = False,
        on_dead_token: Callable[[], None] | None = None,
    ) -> None:
        """
        Parameters
        ----------
        account : the Kite user id for whom it calls: its breakers and its places, and the app's budget, are kept.
        urgent : for cancels, exits and the reads that settle unknown orders (`accounts.broker.guard.Caller`).
        on_dead_token : called when the broker says that the token has ended, before `SessionExpired` is raised.
        """
        super().__init__(
            api_key, access_token=token, root=settings.KITE_API_ROOT, timeout=settings.KITE_TIMEOUT_SECONDS
        )
        self.reqsession = broker_session(settings.KITE_API_ROOT)
        self._on_dead_token = on_dead_token
        self.answers = 0  # how many came whole and in the broker's form
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
        try:
            with guarded(self._caller, route):
                data = self._send(method, url, params, is_json=is_json, query_params=query_params)
        except SessionExpired:
            self._note_dead_token()
            raise
        self.answers += 1
        return data

    def _send(self, method: str, url: str, params: Any, *, is_json: bool, query_params: Any) -> Any:
        in_query = method in ("GET", "DELETE")
        with exchange(
            self.reqsession,
            method,
            url,
            params=params if in_query else query_params,
            json=params if is_json and not in_query else None,
            data=params if not is_json and not in_query else None,
            seconds=self.timeout,
            **self._identity(),
        ) as response:
            body = body_of(response)
        return body if is_csv(response) else _data(response, body)

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
        chunks = self._csv_chunks(url, call)
        return _continued(next(chunks, b""), chunks)

    def _csv_chunks(self, url: str, call: GuardedCall) -> Generator[bytes]:
        """The call ends with the last piece, an error, or a reader that stops."""
        try:
            with exchange(
                self.reqsession,
                "GET",
                url,
                seconds=CSV_SECONDS,
                silence_seconds=CSV_SILENCE_SECONDS,
                **self._identity(),
            ) as response:
                if not is_csv(response):
                    _data(response, body_of(response))
                    raise OutcomeUnknown("the broker answered the instrument dump with something else than CSV")
                for chunk in chunks_of(response):
                    call.place.keep()
                    yield chunk
        except BrokerError as exc:
            call.end(exc)
            if isinstance(exc, SessionExpired):
                self._note_dead_token()
            raise
        finally:
            call.end()

    def _note_dead_token(self) -> None:
        if self._on_dead_token is not None:
            self._on_dead_token()

    def _url(self, route: str, url_args: Mapping[str, Any] | None) -> str:
        return urljoin(str(self.root), path_of(str(self._routes[route]), url_args or {}))

    def _identity(self) -> dict[str, Any]:
        return {
            "headers": {"X-Kite-Version": self.kite_header_version, "User-Agent": self._user_agent()},
            "auth": _KiteToken(self.api_key, self.access_token),
        }


class _KiteToken(AuthBase):
    """The broker's own form of Authorization. As `auth`, so that a .netrc of the machine cannot replace it."""

    def __init__(self, api_key: str, token: str | None) -> None:
        self._header = f"token {api_key}:{token}" if token else None

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._header:
            request.headers["Authorization"] = self._header
        return request


def _continued(first: bytes, rest: Generator[bytes]) -> Iterator[bytes]:
    try:
        yield first
        yield from rest
    finally:
        rest.close()


def _data(response: requests.Response, body: bytes) -> Any:
    text = body.decode("utf-8", errors="replace")
    return data_of_response(response.status_code, text, retry_after=response.headers.get("Retry-After"))
