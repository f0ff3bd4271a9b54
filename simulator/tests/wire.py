"""One request over a bare socket, to see what no HTTP client shows: when bytes come, and how the connection ends."""

import socket
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

RESET, CLOSED, STILL_OPEN = "reset", "closed", "still open"


@dataclass(frozen=True)
class Exchange:
    """What came back, in the pieces in which it came; `ending` is RESET, CLOSED or STILL_OPEN after the patience."""

    pieces: list[bytes]
    ending: str
    seconds: float

    @property
    def head(self) -> str:
        return b"".join(self.pieces).partition(b"\r\n\r\n")[0].decode()

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces).partition(b"\r\n\r\n")[2]

    @property
    def status(self) -> int:
        return int(self.head.split()[1])

    def header(self, name: str) -> str:
        lines = [line.partition(": ") for line in self.head.split("\r\n")[1:]]
        return next(value for key, _, value in lines if key.lower() == name.lower())


def exchange(root: str, request: str, *headers: str, patience: float) -> Exchange:
    """Send `request`, such as `GET /user/profile`, and read until the connection ends or nothing comes for a while."""
    address = urlsplit(root)
    lines = [f"{request} HTTP/1.1", f"Host: {address.netloc}", *headers, "", ""]
    began = time.monotonic()
    pieces: list[bytes] = []
    ending = CLOSED
    with socket.create_connection((address.hostname, address.port), timeout=patience) as connection:
        connection.sendall("\r\n".join(lines).encode())
        try:
            while piece := connection.recv(65_536):
                pieces.append(piece)
        except TimeoutError:
            ending = STILL_OPEN
        except ConnectionResetError:
            ending = RESET
    return Exchange(pieces, ending, time.monotonic() - began)
