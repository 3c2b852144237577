"""What a bridge counts and times, for its page of metrics."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from pipeline.bridge.face import Outcome
from pipeline.bridge.report import VerdictReport

_AGES_S = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 60.0, 600.0)


class BridgeMetrics:
    """The figures of one bridge."""

    def __init__(self, line: str, target: str) -> None:
        self.registry = CollectorRegistry()
        labels = {"line": line, "target": target}

        def gauge(name: str, what: str) -> Gauge:
            return Gauge(f"prn_bridge_{name}", what, list(labels), registry=self.registry).labels(
                **labels
            )

        self.ready = gauge("ready", "1 while the heartbeat goes on, as /readyz tells")
        self._heartbeat = gauge("heartbeat", "the heartbeat shown to the receiver, 0..65535")
        self._pending = gauge("pending", "reports handed over and not settled yet")
        self._stopped = gauge("stopped_cameras", "cameras whose stop signal is raised")
        self._settled = Counter(
            "prn_bridge_reports",
            "reports by what became of them",
            [*labels, "camera", "outcome"],
            registry=self.registry,
        )
        self._age = Histogram(
            "prn_bridge_age_seconds",
            "age of a report, since its picture was taken, when it was settled as delivered",
            list(labels),
            buckets=_AGES_S,
            registry=self.registry,
        ).labels(**labels)
        self._labels = labels

    def settled(self, outcome: Outcome, report: VerdictReport, age_ms: float | None) -> None:
        """Count a report by what became of it; its age where it was delivered."""
        self._settled.labels(**self._labels, camera=report.camera, outcome=outcome.value).inc()
        if outcome is Outcome.DELIVERED and age_ms is not None:
            self._age.observe(age_ms / 1e3)

    def state(self, heartbeat: int, pending: int, stopped: int) -> None:
        """Store the present values."""
        self._heartbeat.set(heartbeat)
        self._pending.set(pending)
        self._stopped.set(stopped)
