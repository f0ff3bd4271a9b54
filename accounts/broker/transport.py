"""HTTP to the broker, one request a call: bounded in time and size, and exact about whether anything was sent.

`requests` times each read, so an answer that comes byte by byte never ends, and it does not tell whether a failed
request had left. Both matter for orders, so the connection itself keeps the time and notes its first byte.
"""

import http.client
import io
import math
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import Any, cast

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection

from accounts.broker.responses import error_of_transport
from accounts.exceptions import OutcomeUnknown

CHUNK_BYTES = 64 * 1024
# The largest JSON answer the broker has is an order book of some thousand rows.
MOST_BYTES = 16 * 1024 * 1024
# The instrument dump is some 10 MB.
MOST_CSV_BYTES = 64 * 1024 * 1024
CONNECT_SECONDS = 3.0


@dataclass(slots=True)
class Exchange:
    """One request and its answer: how long both may take, how long the broker may be silent, and what was sent."""

    seconds: float
    silence_seconds: float
    is_sent: bool = False  # whether a byte may have left
    ends_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.ends_at = time.monotonic() + self.seconds

    def patience(self) -> float:
        """Seconds for the next read. Raises TimeoutError when the time is over."""
        left = self.ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"the answer took more than {self.seconds:g} s")
        return min(left, self.silence_seconds)


_exchange: ContextVar[Exchange] = ContextVar("exchange")
_nothing_after: ContextVar[float] = ContextVar("nothing_after", default=math.inf)


@contextmanager
def nothing_sent_after(moment: float) -> Iterator[None]:
    """Let no request of the block begin to leave after `moment` (`time.monotonic`): it is NotSent instead.

    For whoever may send for a while only, and may be held up anywhere: waiting for a place, connecting, or frozen.
    """
    token = _nothing_after.set(moment)
    try:
        yield
    finally:
        _nothing_after.reset(token)


def broker_session(root: str) -> requests.Session:
    """A session whose exchanges are timed. It belongs to one thread, as all sessions of `requests`.

    `root` is the address that it is for: what the environment says of proxies and certificates there holds for all of
    its requests, and is looked up once.
    """
    session = requests.Session()
    found = session.merge_environment_settings(root, {}, None, None, None)
    session.proxies, session.verify, session.trust_env = found["proxies"], found["verify"], False
    for scheme in ("https://", "http://"):
        session.mount(scheme, _TimedAdapter(pool_connections=1, pool_maxsize=1))
    return session


@contextmanager
def exchange(
    session: requests.Session,
    method: str,
    url: str,
    *,
    seconds: float,
    silence_seconds: float | None = None,
    **options: Any,
) -> Iterator[requests.Response]:
    """Send one request and hold its answer, whose body is still to be read with `body_of` or `chunks_of`.

    Parameters
    ----------
    session : of `broker_session`
    seconds : for all of it, connecting apart (which takes `CONNECT_SECONDS` an address at most)
    silence_seconds : the longest silence within that time; the whole time if not given
    options : as for `requests.request`; redirects are never followed

    Raises
    ------
    NotSent
        No byte was written.
    OutcomeUnknown
        Anything else that leaves the answer incomplete, also while the block reads it.
    """
    timed = Exchange(seconds, seconds if silence_seconds is None else silence_seconds)
    timeout = (min(CONNECT_SECONDS, seconds), timed.silence_seconds)
    if method != "GET":
        # A kept connection that the broker has given up ends like one that was cut after the order was accepted.
        for adapter in session.adapters.values():
            adapter.close()
    try:
        token = _exchange.set(timed)
        try:
            response = session.request(method, url, stream=True, allow_redirects=False, timeout=timeout, **options)
        finally:
            _exchange.reset(token)  # the answer's own reads have it; the block may send another request
        with response:
            yield response
    except requests.RequestException as exc:
        # Not `from exc`: the transport's own exception shows the URL, and some URLs carry a token.
        raise error_of_transport(exc, is_sent=timed.is_sent) from None


def body_of(response: requests.Response) -> bytes:
    """The whole body.

    Raises
    ------
    OutcomeUnknown
        It is larger than `MOST_BYTES` (`MOST_CSV_BYTES` for a CSV dump), uncompressed.
    """
    body = bytearray()
    for chunk in chunks_of(response):
        body += chunk
    return bytes(body)


def chunks_of(response: requests.Response) -> Iterator[bytes]:
    """The body in pieces of at most 64 KiB. Raises as `body_of`, once it is too large."""
    most_bytes = MOST_CSV_BYTES if is_csv(response) else MOST_BYTES
    size = 0
    for chunk in response.iter_content(CHUNK_BYTES):
        size += len(chunk)
        if size > most_bytes:
            raise OutcomeUnknown(f"the broker's answer is larger than {most_bytes >> 20} MiB")
        yield chunk


def is_csv(response: requests.Response) -> bool:
    return bool(response.status_code == HTTPStatus.OK and "csv" in response.headers.get("content-type", ""))


class _TimedReads(io.RawIOBase):
    """The socket's bytes, each read within what is left of the exchange."""

    def __init__(self, sock: socket.socket, timed: Exchange) -> None:
        self._sock = sock
        self._timed = timed
        self._file = sock.makefile("rb", buffering=0)  # keeps the socket open until this is closed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._sock.settimeout(self._timed.patience())
        return self._sock.recv_into(buffer)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, timed: Exchange, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_TimedReads(sock, timed))


class _Timed:
    """What our connections do beyond urllib3's: note the first byte sent, and read within the exchange's time."""

    sock: Any
    connect: Any
    response_class: Any

    def send(self, data: Any) -> None:
        timed = _exchange.get()
        if self.sock is None:
            self.connect()
        timed.patience()
        if not timed.is_sent and time.monotonic() >= _nothing_after.get():
            raise TimeoutError("the time in which it might be sent was over")
        timed.is_sent = True
        super().send(data)  # type: ignore[misc]

    def getresponse(self) -> Any:
        self.response_class = partial(_TimedResponse, timed=_exchange.get())
        return super().getresponse()  # type: ignore[misc]


class _TimedHTTPConnection(_Timed, HTTPConnection):
    pass


class _TimedHTTPSConnection(_Timed, HTTPSConnection):
    pass


class _TimedHTTPPool(HTTPConnectionPool):
    ConnectionCls = cast(Any, _TimedHTTPConnection)


class _TimedHTTPSPool(HTTPSConnectionPool):
    ConnectionCls = cast(Any, _TimedHTTPSConnection)


class _TimedAdapter(HTTPAdapter):
    """Without retries, as `requests` has it, and with our connections."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _TimedHTTPPool, "https": _TimedHTTPSPool}
