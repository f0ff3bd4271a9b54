"""The keys of the outside user service that signs JWTs: fetched in the background, only read by requests.

A fetch inside a request would let any stranger make this service call out, and would hold up good tokens while the
other side is slow. So a daemon thread of each web process fetches (`start_refresher`): every few minutes and, when a
token names a key that nobody knows, once more but rarely. A thread, not a task of the event loop: requests are answered
in threads and ask from there, the loop has WebSocket clients to serve, and a server that forks or knows no lifespan
events (Daphne) does not matter, since whoever needs keys first looks whether the thread is there.

The keys are kept in memory only. In Redis or the database they would outlast a restart, but whoever can write there
could add a key of their own.
"""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

import jwt
from django.conf import settings

from accounts.exceptions import Refused
from accounts.outside import OutsideFailed, fetch
from accounts.strict_json import loads

logger = logging.getLogger(__name__)

REFRESH_SECONDS = 240.0  # a key that was withdrawn is refused within five minutes
EXTRA_REFRESH_SECONDS = 30.0  # at most this often for a key that is not known
UNKNOWN_KEY_SECONDS = 60.0  # a key that was not there is not asked for again before
MOST_UNKNOWN_KEYS = 1000
LONGEST_OUTAGE_SECONDS = 24 * 3600.0
FETCH_SECONDS = 3.0
LARGEST_BODY = 64 * 1024
MOST_KEYS = 20
SMALLEST_RSA_BITS = 2048
LONGEST_KEY_ID = 128

# Algorithm → key type and curve. Nothing symmetric: whoever can check such a token can also make one.
ALGORITHMS: Mapping[str, tuple[str, str | None]] = {
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "EdDSA": ("OKP", "Ed25519"),
}


class KeysUnavailable(Refused):
    """Tokens cannot be checked now, for which their bearers can do nothing."""

    status_code = HTTPStatus.SERVICE_UNAVAILABLE
    code = "identity_unavailable"
    default_message: ClassVar[str] = "Tokens cannot be checked at the moment; try again."
    retry_after_seconds = EXTRA_REFRESH_SECONDS


class BadKeySet(Exception):
    """What was fetched is no set of keys that can be used."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A public key and the one algorithm it may be used with."""

    algorithm: str
    key: Any


def read_key_set(raw: bytes, algorithms: Sequence[str]) -> dict[str, VerificationKey]:
    """The usable keys of a JWK set, by key id. A key for something else is passed over.

    Raises
    ------
    BadKeySet
        If `raw` is no JWK set, has more than `MOST_KEYS` keys, names an id twice, or has no usable key at all.
    """
    try:
        entries = loads(raw)["keys"]
    except (ValueError, TypeError, KeyError) as exc:
        raise BadKeySet(f"not a JWK set: {exc}") from None
    if not isinstance(entries, list) or len(entries) > MOST_KEYS:
        raise BadKeySet(f"not a list of at most {MOST_KEYS} keys")
    found: dict[str, VerificationKey] = {}
    seen: set[str] = set()
    for entry in entries:
        key_id = entry.get("kid") if isinstance(entry, dict) else None
        if not isinstance(key_id, str) or not 0 < len(key_id) <= LONGEST_KEY_ID:
            continue
        if key_id in seen:
            raise BadKeySet("a key id stands twice")
        seen.add(key_id)
        try:
            found[key_id] = _key_of(entry, algorithms)
        except BadKeySet as exc:
            logger.info("key %s of the user service is passed over: %s", key_id, exc)
    if not found:
        raise BadKeySet("no usable key")
    return found


def _key_of(entry: dict[str, Any], algorithms: Sequence[str]) -> VerificationKey:
    if entry.get("use", "sig") != "sig" or "verify" not in entry.get("key_ops", ["verify"]):
        raise BadKeySet("not for signatures")
    if "d" in entry or "k" in entry:
        raise BadKeySet("a private key: whoever publishes it must replace it")
    kind = (entry.get("kty"), entry.get("crv"))
    fitting = [name for name in algorithms if ALGORITHMS.get(name) == kind and entry.get("alg", name) == name]
    if len(fitting) != 1:
        raise BadKeySet(f"{len(fitting)} of the allowed algorithms fit it")
    try:
        key = jwt.PyJWK(entry, algorithm=fitting[0]).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError) as exc:
        raise BadKeySet(f"malformed ({type(exc).__name__})") from None
    if kind[0] == "RSA" and key.key_size < SMALLEST_RSA_BITS:
        raise BadKeySet(f"only {key.key_size} bits")
    return VerificationKey(fitting[0], key)


class KeyStore:
    """The newest good set of keys of one user service. Reading never waits; `refresh` is for the thread."""

    def __init__(
        self, fetch: Callable[[], bytes], algorithms: Sequence[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._algorithms = tuple(algorithms)
        self._clock = clock
        self._keys: dict[str, VerificationKey] = {}
        self._fetched_at: float | None = None
        self._tried_at = float("-inf")
        self._failed = False
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._lock = threading.Lock()
        self._wanted = threading.Event()

    def key(self, key_id: str) -> VerificationKey | None:
        """The key of this id; None if there is none, which makes the thread look soon.

        Raises
        ------
        KeysUnavailable
            If there never was a set, or the last good one is older than a day.
        """
        now = self._clock()
        if self._fetched_at is None or now - self._fetched_at > LONGEST_OUTAGE_SECONDS:
            self._wanted.set()
            raise KeysUnavailable
        found = self._keys.get(key_id)
        if found is None:
            self._note_unknown(key_id, now)
        return found

    def _note_unknown(self, key_id: str, now: float) -> None:
        with self._lock:
            if now < self._unknown.get(key_id, float("-inf")):
                return
            self._unknown[key_id] = now + UNKNOWN_KEY_SECONDS
            self._unknown.move_to_end(key_id)
            while len(self._unknown) > MOST_UNKNOWN_KEYS:
                self._unknown.popitem(last=False)
        self._wanted.set()

    def refresh(self) -> bool:
        """Fetch the keys. If that fails the last good set stays; False then."""
        self._wanted.clear()
        self._tried_at = self._clock()
        try:
            keys = read_key_set(self._fetch(), self._algorithms)
        except (OutsideFailed, BadKeySet) as exc:
            logger.warning("the keys of the user service were not refreshed: %s", exc)
            self._failed = True
            return False
        self._keys, self._fetched_at, self._failed = keys, self._clock(), False
        return True

    def seconds_to_next(self) -> float:
        """How long the thread may wait now: less if an unknown key was asked for or the last try failed."""
        soon = self._failed or self._wanted.is_set()
        return max(0.0, self._tried_at + (EXTRA_REFRESH_SECONDS if soon else REFRESH_SECONDS) - self._clock())

    def run(self, stop: threading.Event) -> None:
        """Refresh for ever, or until `stop`."""
        while not stop.is_set():
            if self.seconds_to_next() == 0:
                try:
                    self.refresh()
                except Exception:  # the thread must survive whatever the other side sends
                    logger.exception("refreshing the keys of the user service failed")
                    self._failed = True
            # A key that is wanted wakes it early; once one is wanted, only the time since the last try matters.
            if self._wanted.is_set() or self._failed:
                stop.wait(self.seconds_to_next())
            else:
                self._wanted.wait(self.seconds_to_next())


def jwt_problems(settings: Any) -> Iterator[str]:
    """What is wrong with the settings of JWTs, as sentences that begin with the setting's name."""
    if not settings.JWKS_URL:
        return
    if urlsplit(settings.JWKS_URL).scheme != "https" and settings.ENVIRONMENT != "test":
        yield "JWKS_URL is not https: whoever is on the way could put in keys of their own"
    if not settings.JWT_ISSUER:
        yield "JWT_ISSUER is empty: it has to be the `iss` of the tokens, letter by letter"
    if not settings.JWT_AUDIENCE:
        yield "JWT_AUDIENCE is empty: a token made for another service would open this one"
    if not settings.JWT_ALGORITHMS or not set(settings.JWT_ALGORITHMS) <= ALGORITHMS.keys():
        yield f"JWT_ALGORITHMS is {settings.JWT_ALGORITHMS}: choose of {', '.join(ALGORITHMS)}"


def enabled() -> bool:
    """Whether JWTs of an outside service are accepted at all."""
    return bool(settings.JWKS_URL)


def key_store() -> KeyStore:
    """This process's store for the user service of the settings, with its thread running."""
    store = _store(settings.JWKS_URL, tuple(settings.JWT_ALGORITHMS))
    ensure_refresher(store)
    return store


def start_refresher() -> None:
    """Begin to fetch before the first request comes. Does nothing where JWTs are off."""
    if enabled():
        key_store()


@lru_cache(maxsize=4)
def _store(url: str, algorithms: tuple[str, ...]) -> KeyStore:
    return KeyStore(lambda: fetch(url, seconds=FETCH_SECONDS, most_bytes=LARGEST_BODY), algorithms)


_threads: dict[tuple[int, int], threading.Thread] = {}
_threads_lock = threading.Lock()


def ensure_refresher(store: KeyStore) -> None:
    """See to it that this process has a live thread for `store`; after a fork it has none."""
    key = (os.getpid(), id(store))
    thread = _threads.get(key)
    if thread is not None and thread.is_alive():
        return
    with _threads_lock:
        thread = _threads.get(key)
        if thread is None or not thread.is_alive():
            _threads[key] = threading.Thread(target=store.run, args=(threading.Event(),), name="jwks", daemon=True)
            _threads[key].start()
