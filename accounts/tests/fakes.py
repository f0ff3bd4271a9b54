"""A broker on a local socket that answers what it is told to, and remembers what it was asked."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Answer:
    body: Any = None  # or what gives it, anew for each request
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    cut_after: int | None = None  # bytes of the body, then the connection ends

    def payload(self) -> bytes:
        body = self.body() if callable(self.body) else self.body
        if isinstance(body, bytes):
            return body
        return json.dumps({"status": "success", "data": body} if self.status == 200 else body).encode()


@dataclass(frozen=True)
class Asked:
    method: str
    path: str
    query: dict[str, str]
    form: dict[str, str]
    headers: dict[str, str]
    at: float = field(default_factory=time.monotonic)


class ScriptedBroker:
    """Answers by method and path; what is not scripted is a 404 in the broker's own form."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.answer_by_token: dict[str, Answer] = {}  # whatever is asked with it
        self.asked: list[Asked] = []
        self.root = ""

    def answer(self, request: str, answer: Answer) -> None:
        """Script one route, e.g. ``GET /user/profile``."""
        self.answers[request] = answer

    def refuse(self, request: str, status: int, error_type: str, message: str, **headers: str) -> None:
        body = {"status": "error", "message": message, "error_type": error_type}
        self.answer(request, Answer(body, status, headers))


@contextmanager
def running_broker() -> Iterator[ScriptedBroker]:
    broker = ScriptedBroker()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _reply(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            broker.asked.append(
                Asked(
                    self.command,
                    address.path,
                    dict(parse_qsl(address.query)),
                    dict(parse_qsl(body)),
                    dict(self.headers.items()),
                )
            )
            unknown = Answer({"status": "error", "message": "no such route", "error_type": "GeneralException"}, 404)
            token = (self.headers["Authorization"] or "").rpartition(":")[2]
            scripted = broker.answers.get(f"{self.command} {address.path}", unknown)
            answer = broker.answer_by_token.get(token, scripted)
            payload = answer.payload()
            self.send_response(answer.status)
            headers = {"Content-Type": answer.content_type, "Content-Length": str(len(payload))} | answer.headers
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(payload[: answer.cut_after])
            self.close_connection = answer.cut_after is not None

        do_GET = do_POST = do_PUT = do_DELETE = _reply  # noqa: N815  (the base class's names)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the base class's name)
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    broker.root = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, name="scripted-broker")
    thread.start()
    try:
        yield broker
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
