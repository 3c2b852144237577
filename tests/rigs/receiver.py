"""An HTTP receiver of webhooks that answers as a test wants and verifies every signature."""

import json
import ssl
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105  # for tests


class Receiver(ThreadingHTTPServer):
    """Answers the next statuses, then 204."""

    daemon_threads = True

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Request)
        self.statuses = deque(statuses)
        self.ids: list[str] = []  # of every request, repeated ones too
        self.taken: list[dict[str, Any]] = []
        self.paths: list[str] = []

    def seqs(self) -> list[int]:
        return [message["data"]["seq"] for message in self.taken]


class _Request(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Webhook(SECRET).verify(body, dict(self.headers.items()))
        status = self.server.statuses.popleft() if self.server.statuses else 204
        self.server.ids.append(self.headers["webhook-id"])
        self.server.paths.append(self.path)
        if status == 204:
            self.server.taken.append(json.loads(body))
        self.send_response(status)
        if 300 <= status < 400:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@contextmanager
def receiver(*statuses: int, tls: ssl.SSLContext | None = None) -> Iterator[tuple[Receiver, str]]:
    server = Receiver(*statuses)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    scheme = "http" if tls is None else "https"
    try:
        yield server, f"{scheme}://127.0.0.1:{server.server_port}/verdicts?plant=1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
