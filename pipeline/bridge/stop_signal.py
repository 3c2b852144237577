"""When a plant should stop: too many NG in a row, or too many among the last parts."""

from collections import deque
from dataclasses import dataclass

from pipeline.bridge.report import Code, VerdictReport


@dataclass(frozen=True, slots=True)
class StopRule:
    """What raises the stop signal of a camera; None: that does not."""

    after_ng: int | None = None  # NG in a row
    ng_rate: float | None = None  # share of NG among the last `window` parts
    window: int = 100


class StopSignal:
    """Watches the verdicts of each camera; a raised signal stays until it is cleared.

    UNKNOWN neither ends a row of NG nor counts as one, for it says nothing about the part.
    """

    def __init__(self, rule: StopRule) -> None:
        self._rule = rule
        self._in_a_row: dict[str, int] = {}
        self._last: dict[str, deque[bool]] = {}
        self._raised: dict[str, str] = {}  # by camera: why

    def note(self, report: VerdictReport) -> str:
        """Count the verdict of a part; return why the signal is raised now, once."""
        if report.code not in {Code.OK, Code.NG}:
            return ""
        camera, bad = report.camera, report.code is Code.NG
        row = self._in_a_row[camera] = self._in_a_row.get(camera, 0) + 1 if bad else 0
        last = self._last.setdefault(camera, deque(maxlen=self._rule.window))
        last.append(bad)
        why = self._why(row, last)
        if not why or camera in self._raised:
            return ""
        self._raised[camera] = why
        return why

    def _why(self, row: int, last: deque[bool]) -> str:
        rule = self._rule
        if rule.after_ng is not None and row >= rule.after_ng:
            return f"{row} NG in a row"
        full = len(last) == rule.window
        if rule.ng_rate is not None and full and sum(last) / len(last) >= rule.ng_rate:
            return f"{sum(last)} NG among the last {len(last)} parts"
        return ""

    def clear(self, camera: str) -> bool:
        """Lower the signal of a camera and count from the start; return whether it was raised."""
        self._in_a_row.pop(camera, None)
        self._last.pop(camera, None)
        return self._raised.pop(camera, None) is not None

    @property
    def raised(self) -> tuple[str, ...]:
        """The cameras whose signal is raised."""
        return tuple(sorted(self._raised))
