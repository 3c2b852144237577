"""Decides whether a verdict may still move a part: its deadline less a margin, on Redis's clock."""

from dataclasses import dataclass, replace

from pipeline.bridge.report import Code, ReasonCode, VerdictReport

_LEAST, _MOST = -32_768, 32_767  # of a signed register


@dataclass(frozen=True, slots=True)
class Freshness:
    """Decides whether a report is live or stale."""

    margin_ms: float = 0.0  # what the way from here to the gate may take

    def ms_left(self, report: VerdictReport, now_ms: float | None) -> int:
        """Return how long a report may still be used, -32768..32767 ms; rounded down.

        Args:
            report: what is to be shown.
            now_ms: Redis's time, ms since the epoch; None: not known, nothing is left then.
        """
        if now_ms is None:
            return _LEAST
        left_ms = report.due_ms - self.margin_ms - now_ms
        return int(min(max(left_ms, _LEAST), _MOST) // 1)

    def is_live(self, report: VerdictReport, now_ms: float | None) -> bool:
        """Return whether at least a millisecond is left."""
        return self.ms_left(report, now_ms) > 0

    def shown(self, report: VerdictReport, now_ms: float | None) -> VerdictReport:
        """Return what a gate may see of a report: past its deadline UNKNOWN/UNDELIVERED."""
        if self.is_live(report, now_ms):
            return report
        return replace(report, code=Code.UNKNOWN, reason=ReasonCode.UNDELIVERED)
