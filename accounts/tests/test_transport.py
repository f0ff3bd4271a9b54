"""Whether anything was sent, and for how long one waits: over real sockets, TLS too."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from accounts.broker import transport
from accounts.broker.transport import body_of, broker_session, exchange, nothing_sent_after
from accounts.exceptions import BrokerError, NotSent, OutcomeUnknown

Conversation = Callable[[socket.socket], None]


@contextmanager
def server(conversation: Conversation, *, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server of one connection at a time, which talks as it is told. Its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        conversation(
                            connection if context is None else context.wrap_socket(connection, server_side=True)
                        )
                    except OSError:
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        scheme = "http" if context is None else "https"
        yield f"{scheme}://localhost:{listener.getsockname()[1]}/x"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate of `localhost` that vouches for itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    sealed_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    file.write_bytes(sealed_key + made.public_bytes(Encoding.PEM))
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def get(url: str, *, session: requests.Session | None = None, seconds: float = 5.0, **options: Any) -> bytes:
    with exchange(session or broker_session(url), "GET", url, seconds=seconds, **options) as response:
        return body_of(response)


def answering(body: bytes) -> Conversation:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)

    return talk


def dripping(prefix: bytes) -> Conversation:
    """Says `prefix`, then a byte every 50 ms."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(prefix)
        while True:
            time.sleep(0.05)
            connection.sendall(b"a")

    return talk


def test_an_answer_comes_whole_over_tls_too(tls: ssl.SSLContext, certificate: Path) -> None:
    with server(answering(b"plain")) as url:
        assert get(url) == b"plain"
    with server(answering(b"sealed"), context=tls) as url:
        assert get(url, verify=str(certificate)) == b"sealed"


@pytest.mark.parametrize(
    "prefix",
    [b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b""],
    ids=["head", "body", "first line"],
)
def test_an_answer_byte_by_byte_ends_with_the_time_for_the_whole(prefix: bytes) -> None:
    begun = time.monotonic()
    with server(dripping(prefix)) as url, pytest.raises(OutcomeUnknown):
        get(url, seconds=0.4)
    assert time.monotonic() - begun < 3  # by silence alone it would never end


def test_a_long_silence_ends_a_long_exchange() -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.recv(65536)  # until the client has had enough

    begun = time.monotonic()
    with (
        server(talk) as url,
        pytest.raises(OutcomeUnknown),
        exchange(broker_session(url), "GET", url, seconds=60, silence_seconds=0.2) as response,
    ):
        body_of(response)
    assert time.monotonic() - begun < 4


def test_an_answer_that_is_too_large_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MOST_BYTES", 1 << 20)
    with server(answering(b"x" * (3 << 20))) as url, pytest.raises(OutcomeUnknown, match="larger than 1 MiB"):
        get(url)


def test_a_certificate_of_nobody_we_trust_means_not_sent(tls: ssl.SSLContext) -> None:
    with server(answering(b""), context=tls) as url, pytest.raises(NotSent):
        get(url)


@pytest.mark.parametrize("with_tls", [False, True])
def test_a_connection_cut_after_the_request_means_unknown(
    tls: ssl.SSLContext, certificate: Path, with_tls: bool
) -> None:
    """Over TLS such an end looks like an error of the handshake to `requests`: it is none."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.shutdown(socket.SHUT_RDWR)

    with server(talk, context=tls if with_tls else None) as url, pytest.raises(OutcomeUnknown):
        get(url, verify=str(certificate))


def test_a_handshake_cut_short_means_not_sent(certificate: Path) -> None:
    def talk(connection: socket.socket) -> None:
        connection.recv(65536)

    with server(talk) as url, pytest.raises(NotSent):
        get(url.replace("http:", "https:"), verify=str(certificate))


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/", "http://nowhere.invalid/"])
def test_nobody_there_means_not_sent(url: str) -> None:
    with pytest.raises(NotSent):
        get(url)


def test_the_environment_says_which_proxy_leads_to_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    def hears_of_it(connection: socket.socket) -> None:
        asked = connection.recv(65536).decode()
        answer = asked.partition("\r\n")[0].encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(answer), answer))

    with server(hears_of_it) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert get("http://broker.example/orders") == b"GET http://broker.example/orders HTTP/1.1"
        monkeypatch.setenv("no_proxy", "localhost")
        with server(answering(b"direct")) as url:
            assert get(url) == b"direct"


def test_two_answers_may_be_read_at_once() -> None:
    session = broker_session("http://127.0.0.1")
    with (
        server(answering(b"outer")) as outer,
        server(answering(b"inner")) as inner,
        exchange(session, "GET", outer, seconds=5) as response,
    ):
        assert get(inner, session=session) == b"inner"
        assert body_of(response) == b"outer"


def test_what_changes_something_never_goes_out_on_a_connection_that_was_used_before() -> None:
    """A broker that closes idle connections would leave it unknown whether an order was taken."""
    connections: list[socket.socket] = []

    def talk(connection: socket.socket) -> None:
        connections.append(connection)
        while connection.recv(65536):
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    session = broker_session("http://127.0.0.1")
    with server(talk) as url:
        for method in ("GET", "GET", "POST", "DELETE"):
            with exchange(session, method, url, seconds=5) as response:
                assert body_of(response) == b"ok"
            del response  # else it keeps the connection, which this server waits for
        session.close()
    assert len(connections) == 3  # the second GET shares the first one's


def test_no_address_stands_in_an_error() -> None:
    with pytest.raises(BrokerError) as caught:
        get("http://127.0.0.1:1/?access_token=canary")
    assert "canary" not in repr(caught.value)
    assert caught.value.__suppress_context__


def test_nothing_leaves_after_its_time_however_long_connecting_took() -> None:
    with server(answering(b"ok")) as url:
        with nothing_sent_after(time.monotonic() + 5):
            assert get(url) == b"ok"
        with nothing_sent_after(time.monotonic() - 0.001), pytest.raises(NotSent):
            get(url)
        assert get(url) == b"ok"
