"""What a worker or a joiner counts and times, and the page that serves it.

/metrics  Prometheus: histograms of the wait in the queue, of inference, and end to end
/healthz  200 while the process does its work, else 503 and why
/readyz   200 while it takes frames, else 503 and why
"""

import errno
import json
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.drift.detector import SLACK, DriftState, DriftStatus
from pipeline.errors import SettingsError
from pipeline.frames import EngineName

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128)
HealthProbe = Callable[[], str]  # what is wrong, or ""
Page = tuple[HTTPStatus, str, bytes]  # with its content type
Pages = Callable[[str], Page]  # by path
REQUEST_TIMEOUT_S = 5.0  # a client that is silent for so long is given up
MOST_CONNECTIONS = 32
_log = logging.getLogger(__name__)


class _DriftMetrics:
    """Where each camera stands."""

    def __init__(self, line: str, registry: CollectorRegistry) -> None:
        def by_camera(name: str, what: str, *more: str) -> Gauge:
            return Gauge(f"prn_{name}", what, ["line", "camera", *more], registry=registry)

        self._line = line
        self._distance = by_camera(
            "distance", "distance to the nearest prototype, running geometric mean", "scale"
        )
        self._shift = by_camera(
            "drift_shift", "how far it moved, in deviations of what is usual", "scale"
        )
        self._cells = by_camera("drift_cells_moved", "places of the picture that moved")
        self._alarm = by_camera(
            "drift_alarm", "1 while there is drift of the kind camera or process", "kind"
        )
        self._learned = by_camera(
            "drift_learned", "share of what must be learned before drift can be told"
        )
        self._shown: set[tuple[Gauge, tuple[str, ...]]] = set()

    def show(self, statuses: dict[str, DriftStatus]) -> None:
        """Take over where each camera stands; one that is gone is shown no more."""
        before, self._shown = self._shown, set()
        for camera, status in statuses.items():
            where = (self._line, camera)
            for scale, distance in enumerate(status.distance):
                self._set(self._distance, distance, *where, str(scale))
            for scale, shift in enumerate(status.shift):
                self._set(self._shift, shift, *where, str(scale))
            moved = sum(abs(shift) > SLACK for shift in status.cells)
            self._set(self._cells, moved, *where)
            for kind in (DriftState.CAMERA, DriftState.PROCESS):
                self._set(self._alarm, status.state is kind, *where, kind.value)
            self._set(self._learned, status.learned, *where)
        for gauge, labels in before - self._shown:
            gauge.remove(*labels)

    def _set(self, gauge: Gauge, value: float, *labels: str) -> None:
        gauge.labels(*labels).set(value)
        self._shown.add((gauge, labels))


class Telemetry:
    """The figures of one worker process."""

    def __init__(self, line: str) -> None:
        self.registry = CollectorRegistry()
        self._line = line
        self.ready = self._gauge("ready", "1 while this worker takes frames, as /readyz says")
        self._serving: EngineName | None = None
        self._engine = self._metric(
            Gauge,
            "engine",
            "1 for the engine that judges in this worker",
            *("model", "version", "sha256"),
        )
        self.transport = self._seconds("transport", "captured until in the worker's hands")
        self.queue_wait = self._seconds(
            "queue_wait", "in the worker's hands until its batch starts"
        )
        self.inference = self._seconds("inference", "one batch on the engine")
        self.end_to_end = self._seconds("end_to_end", "captured until its verdict is published")
        self.batch = self._spread("batch_frames", "frames scored together", _FRAMES)
        self._verdicts = self._metric(
            Counter, "verdicts", "verdicts that this worker published", "answer"
        )
        self._line_verdicts = self._metric(
            Gauge,
            "line_verdicts",
            "verdicts of the whole line since it began, by answer",
            "answer",
        )
        self.duplicates = self._counter("duplicates", "answers dropped: another came first")
        self.taken_over = self._counter("taken_over", "frames taken over from dead workers")
        self._swaps = self._metric(
            Counter,
            "swaps",
            "changes of the engine: swapped, kept, refused before it judged, rolled_back",
            "outcome",
        )
        self.shadow_frames = self._gauge("shadow_frames", "live frames that a newcomer scored too")
        self.shadow_differs = self._gauge(
            "shadow_decisions_differ", "of those, decisions that differ"
        )
        self.shadow_largest = self._gauge(
            "shadow_largest_difference", "of two normalised scores of a frame, 0..1"
        )
        self.shadow_mean = self._gauge(
            "shadow_mean_difference", "of two normalised scores of a frame, 0..1"
        )
        self.open_frames = self._gauge("open_frames", "frames of the line not yet answered")
        self.open_bytes = self._gauge("open_bytes", "bytes that those frames are charged")
        self.reconnects = self._counter("redis_waits", "times that Redis had to be waited for")
        self.rollbacks = self._gauge(
            "line_rollbacks", "times that programs noticed that Redis went back, as the books say"
        )
        self.clock_ahead = self._gauge(
            "redis_clock_ahead_seconds", "Redis's clock against this machine's"
        )
        self.show_drift = _DriftMetrics(line, self.registry).show
        self.archived = self._counter("archived", "frames that this worker archived")
        self.archive_dropped = self._counter(
            "archive_dropped", "frames that should have been archived and were not"
        )

    def _metric(self, kind: type[Any], name: str, what: str, *labels: str) -> Any:  # noqa: ANN401
        return kind(f"prn_{name}", what, ["line", *labels], registry=self.registry)

    def _counter(self, name: str, what: str) -> Any:  # noqa: ANN401
        return self._metric(Counter, name, what).labels(self._line)

    def _gauge(self, name: str, what: str) -> Any:  # noqa: ANN401
        return self._metric(Gauge, name, what).labels(self._line)

    def _spread(self, name: str, what: str, buckets: Sequence[float]) -> Any:  # noqa: ANN401
        spread = Histogram(f"prn_{name}", what, ["line"], buckets=buckets, registry=self.registry)
        return spread.labels(self._line)

    def _seconds(self, name: str, what: str) -> Any:  # noqa: ANN401
        return self._spread(f"{name}_seconds", what, _SECONDS)

    def answered(self, answer: str) -> None:
        """Count one verdict that this worker published."""
        self._verdicts.labels(self._line, answer).inc()

    def swapped(self, outcome: str) -> None:
        """Count one attempt to change the engine, by how it ended."""
        self._swaps.labels(self._line, outcome).inc()

    def serves(self, engine: EngineName) -> None:
        """Show which engine judges; safe to call repeatedly."""
        if engine == self._serving:
            return
        self._serving = engine
        self._engine.clear()  # the one before is shown no more
        self._engine.labels(self._line, engine.model, engine.version, engine.sha256[:12]).set(1)

    def line_counts(self, counts: dict[str, int]) -> None:
        """Take over the line's own count of verdicts."""
        for answer, count in counts.items():
            self._line_verdicts.labels(self._line, answer).set(count)


class StationTelemetry:
    """The figures of one joiner process."""

    def __init__(self, station: str) -> None:
        self.registry = CollectorRegistry()
        self.ready = Gauge(
            "prn_ready", "1 while this joiner joins, as /readyz says", registry=self.registry
        )
        self._joined = Counter(
            "prn_station_views",
            "verdicts of views that this joiner handed in, by what became of them",
            ["line", "outcome"],
            registry=self.registry,
        )
        self._expired = Counter(
            "prn_station_missing_views",
            "parts that this joiner answered UNKNOWN because a view was missing at their deadline",
            ["line"],
            registry=self.registry,
        )
        self._station = station

    def joined(self, outcome: str, count: int) -> None:
        """Count verdicts of views."""
        self._joined.labels(self._station, outcome).inc(count)

    def expired(self, count: int) -> None:
        """Count parts without all their views."""
        self._expired.labels(self._station).inc(count)


class Figures(Protocol):
    """What the page serves."""

    registry: CollectorRegistry
    ready: Any


class _PageServer(ThreadingMixIn, TCPServer):
    """A thread for each connection, so that one that says nothing keeps nobody else waiting.

    One connection more than `MOST_CONNECTIONS` closes the oldest. Nothing is looked up by name.
    """

    allow_reuse_address = True
    request_queue_size = 2 * MOST_CONNECTIONS
    daemon_threads = True
    block_on_close = False  # an open connection does not hold up the end of the process

    def __init__(self, host: str, port: int, pages: Pages, timeout_s: float) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            self.address_family, _, _, _, address = found[0]
            self.pages = pages
            self.timeout_s = timeout_s
            self._open: dict[socket.socket, None] = {}  # oldest first
            super().__init__(address, _PageRequest)  # type: ignore[arg-type]  # IPv6 has four parts
        except OSError as error:
            raise SettingsError(_why_no_page(host, port, error)) from error
        self.socket.settimeout(timeout_s)  # a client may be gone again before it is taken

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Answer a connection in a thread of its own."""
        self._open[request] = None
        for oldest in list(self._open)[:-MOST_CONNECTIONS]:
            with suppress(OSError):  # it has just ended
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401
        """Close a connection that was answered or given up."""
        super().shutdown_request(request)
        self._open.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401
        """Log why a connection was not answered, which is mostly a client that went away."""
        del request
        level = logging.DEBUG if isinstance(sys.exception(), OSError) else logging.ERROR
        _log.log(level, "page.failed", extra={"client": str(client_address)}, exc_info=True)


def _why_no_page(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is in use: give another --port, or 0 for a free one"
    return f"cannot serve health and metrics on --host {host} --port {port}: {error.strerror}"


class _PageRequest(BaseHTTPRequestHandler):
    """Answers GET and HEAD; everything else is refused, and so is a client that is slow."""

    server: _PageServer

    def setup(self) -> None:
        """Prepare to read, for as long as a client may take."""
        super().setup()
        self.connection.settimeout(self.server.timeout_s)

    def do_GET(self) -> None:  # so http.server wants it
        """Send the page."""
        status, kind, body = self.server.pages(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def send_response(self, code: int, message: str | None = None) -> None:
        """Begin an answer, without the name and version of what sends it."""
        self.send_response_only(code, message)
        self.send_header("Date", self.date_time_string())

    def log_message(self, *_: object) -> None:
        """Log nothing: probes come every second."""


@contextmanager
def served(
    telemetry: Figures,
    host: str,
    port: int,
    health: HealthProbe,
    ready: HealthProbe,
    note: str = "",
    *,
    timeout_s: float = REQUEST_TIMEOUT_S,
) -> Iterator[int]:
    """Serve the page while the context lasts; yields the port (0 asks for a free one).

    A `note` stands on /readyz for as long as the process lives.

    Raises:
        SettingsError: nothing can be served there, such as on a port that is in use.
    """

    def page(path: str) -> Page:
        if path == "/metrics":
            telemetry.ready.set(not ready())
            return HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest(telemetry.registry)
        checks = {"/healthz": health, "/readyz": ready}
        if path not in checks:
            return HTTPStatus.NOT_FOUND, "text/plain", b"/metrics /healthz /readyz\n"
        why = checks[path]()
        status = HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK
        shown = {"note": note} if note and path == "/readyz" else {}
        return status, "application/json", json.dumps({"ok": not why, "why": why, **shown}).encode()

    server = _PageServer(host, port, page, timeout_s)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="page", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
