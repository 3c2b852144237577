"""One signed request, and what its answer means."""

import contextlib
import http.client
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.bridge.webhook.signature import sign
from pipeline.errors import SettingsError

TIMEOUT_S = 10.0
LONGEST_WAIT_S = 300.0  # that a receiver may ask for
_MOST_ANSWER_BYTES = 1 << 16
_TEMPORARY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class Reaction(Enum):
    """What to do next."""

    TAKEN = auto()  # 2xx
    LATER = auto()  # no answer, 408, 425, 429, 5xx, or a redirect, which is never followed
    REFUSED = auto()  # any other 4xx: the same request will never be taken


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one request."""

    answer: Reaction
    why: str = ""
    wait_s: float = 0.0  # that the receiver asks for


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where to post."""

    host: str
    port: int | None
    target: str  # path and query
    tls: ssl.SSLContext | None

    @classmethod
    def from_url(cls, url: str, *, allow_http: bool, ca_file: Path | None) -> "Receiver":
        """Read a URL.

        Raises:
            SettingsError: it is none for a webhook, or the certificates cannot be read.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SettingsError("--url: give https://HOST/PATH")
        if parts.username or parts.password:
            raise SettingsError("--url: no user and password, the signature tells who sends")
        if parts.scheme == "http" and not allow_http:
            raise SettingsError("--url: http is not encrypted; give https, or --allow-http")
        try:
            port = parts.port
            tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
        except (ValueError, OSError) as error:
            raise SettingsError(f"--url, --ca-file: {error}") from error
        query = f"?{parts.query}" if parts.query else ""
        return cls(parts.hostname, port, (parts.path or "/") + query, tls)

    def connection(self) -> http.client.HTTPConnection:
        """Return a connection that is not open yet."""
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=TIMEOUT_S)
        return http.client.HTTPSConnection(
            self.host, self.port, timeout=TIMEOUT_S, context=self.tls
        )


class Poster:
    """Posts bodies to one receiver over a connection that is kept open."""

    def __init__(
        self, receiver: Receiver, key: bytes, time_s: Callable[[], float] = time.time
    ) -> None:
        self._receiver = receiver
        self._key = key
        self._time_s = time_s
        self._connection = receiver.connection()

    def post(self, message_id: str, body: bytes) -> Reply:
        """Send one message; a connection that the receiver closed meanwhile is opened again."""
        was_open = self._connection.sock is not None
        try:
            return self._post(message_id, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not was_open or isinstance(error, TimeoutError):
                return Reply(Reaction.LATER, f"no answer: {error!r:.200}")
        try:
            return self._post(message_id, body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            return Reply(Reaction.LATER, f"no answer: {error!r:.200}")

    def _post(self, message_id: str, body: bytes) -> Reply:
        timestamp_s = int(self._time_s())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "prn-line",
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp_s),
            "webhook-signature": sign(self._key, message_id, timestamp_s, body),
        }
        self._connection.request("POST", self._receiver.target, body, headers)
        response = self._connection.getresponse()
        response.read(_MOST_ANSWER_BYTES)
        if not response.isclosed():
            self.close()  # a longer answer than anybody needs
        return reply_of(response.status, response.getheader("Retry-After"))

    def interrupt(self) -> None:
        """End a request that waits; from any thread."""
        sock = self._connection.sock
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; the next message opens it again."""
        self._connection.close()


def reply_of(status: int, retry_after: str | None = None) -> Reply:
    """Return what a status means."""
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Reply(Reaction.TAKEN)
    why = f"status {status}"
    temporary = status in _TEMPORARY or status >= HTTPStatus.INTERNAL_SERVER_ERROR
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        return Reply(Reaction.LATER, f"{why}: redirects are not followed, mend --url")
    if not temporary and status >= HTTPStatus.BAD_REQUEST:
        return Reply(Reaction.REFUSED, why)
    asked = retry_after or ""
    wait_s = float(asked) if asked.isdecimal() and len(asked) <= len("86400") else 0.0
    return Reply(Reaction.LATER, why, min(wait_s, LONGEST_WAIT_S))
