"""What a worker counts and times, and the page that serves it.

/metrics  Prometheus: histograms of the wait in the queue, of inference, and end to end
/healthz  200 while the process does its work, else 503 and why
/readyz   200 while it takes frames, else 503 and why
"""

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.drift.detector import SLACK, DriftState, DriftStatus
from pipeline.frames import EngineName

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_FRAMES = (1, 2, 4, 8, 16, 32, 64, 128)
HealthProbe = Callable[[], str]  # what is wrong, or ""


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
        """Say which engine judges; may be called as often as one likes."""
        if engine == self._serving:
            return
        self._serving = engine
        self._engine.clear()  # the one before is shown no more
        self._engine.labels(self._line, engine.model, engine.version, engine.sha256[:12]).set(1)

    def line_counts(self, counts: dict[str, int]) -> None:
        """Take over the line's own count of verdicts."""
        for answer, count in counts.items():
            self._line_verdicts.labels(self._line, answer).set(count)


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing: probes come every second."""


@contextmanager
def served(
    telemetry: Telemetry,
    host: str,
    port: int,
    health: HealthProbe,
    ready: HealthProbe,
    note: str = "",
) -> Iterator[int]:
    """Serve the page while the context lasts; yields the port (0 asks for a free one).

    A `note` stands on /readyz for as long as the process lives.
    """

    def page(environ: dict[str, Any], start: Any) -> Iterable[bytes]:  # noqa: ANN401
        path = environ["PATH_INFO"]
        if path == "/metrics":
            telemetry.ready.set(not ready())
            start("200 OK", [("Content-Type", CONTENT_TYPE_LATEST)])
            return [generate_latest(telemetry.registry)]
        checks = {"/healthz": health, "/readyz": ready}
        if path not in checks:
            start("404 Not Found", [("Content-Type", "text/plain")])
            return [b"/metrics /healthz /readyz\n"]
        why = checks[path]()
        status = "503 Service Unavailable" if why else "200 OK"
        start(status, [("Content-Type", "application/json")])
        shown = {"note": note} if note and path == "/readyz" else {}
        said = {"ok": not why, "why": why, **shown}
        return [json.dumps(said).encode()]

    server: WSGIServer = make_server(host, port, page, handler_class=_Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="page", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
