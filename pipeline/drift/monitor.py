"""Drift of every camera that a worker judges: fed with judgements, said in logs and reports."""

import logging
import time
from collections.abc import Callable
from typing import Any

from pipeline.drift.detector import (
    SLACK,
    Alarm,
    DriftDetector,
    DriftState,
    DriftStatus,
    read_signals,
)
from pipeline.frames import Decision, Judgement

MOST_CAMERAS = 64  # a camera's name comes from outside
DEPARTED_S = 600.0  # without a frame for so long a camera makes room for another
_LOOK_AT = {
    DriftState.CAMERA: "most of the picture moved: look at the camera, its focus and the light",
    DriftState.PROCESS: "some places or scales moved: look at the parts",
}
_log = logging.getLogger(__name__)


class DriftMonitor:
    """A watch for each camera, begun anew with each engine. Fed by one thread at a time."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._engine = ""
        self._detectors: dict[str, DriftDetector] = {}
        self._seen_s: dict[str, float] = {}
        self._too_many_said = False

    def observe(self, camera: str, judgement: Judgement) -> Alarm | None:
        """Take in what an engine said of a frame; an alarm, when one begins, is logged."""
        if judgement.engine.sha256 != self._engine:
            self._detectors, self._seen_s = {}, {}
            self._engine = judgement.engine.sha256
        if not (judgement.distance or judgement.cells):
            return None
        if (detector := self._detector(camera, judgement)) is None:
            return None
        before = detector.kind
        signals = read_signals(judgement.distance, judgement.cells)
        alarm = detector.observe(signals, ng=judgement.judged is Decision.NG)
        if alarm is not None:
            _log.warning("drift.alarm", extra={"camera": camera, **_alarm_fields(alarm)})
        elif before is not None and detector.kind is None:
            _log.info("drift.over", extra={"camera": camera, "kind": before.value})
        return alarm

    def statuses(self) -> dict[str, DriftStatus]:
        """Where each camera stands; any thread may ask."""
        return {camera: detector.status() for camera, detector in list(self._detectors.items())}

    def report(self) -> dict[str, dict[str, Any]]:
        """Return the same as plain values, for the heartbeat."""
        return {camera: _status_fields(one) for camera, one in self.statuses().items()}

    def _detector(self, camera: str, judgement: Judgement) -> DriftDetector | None:
        now_s = self._clock_s()
        if (detector := self._detectors.get(camera)) is not None:
            self._seen_s[camera] = now_s
            return detector
        if len(self._detectors) >= MOST_CAMERAS and not self._forget_departed(now_s):
            if not self._too_many_said:
                self._too_many_said = True
                fields = {"camera": camera, "watched": MOST_CAMERAS}
                _log.warning("drift.too_many_cameras", extra=fields)
            return None
        detector = DriftDetector(len(judgement.distance), len(judgement.cells))
        self._detectors = {**self._detectors, camera: detector}
        self._seen_s[camera] = now_s
        return detector

    def _forget_departed(self, now_s: float) -> bool:
        """Make room by forgetting cameras that sent nothing for long; whether there were any."""
        gone = {name for name, seen_s in self._seen_s.items() if now_s - seen_s > DEPARTED_S}
        kept = {name: one for name, one in self._detectors.items() if name not in gone}
        self._detectors = kept  # other threads read the old one to its end
        self._seen_s = {name: self._seen_s[name] for name in kept}
        self._too_many_said = self._too_many_said and not gone
        return bool(gone)


def _alarm_fields(alarm: Alarm) -> dict[str, Any]:
    return {
        "kind": alarm.kind.value,
        "why": _LOOK_AT[alarm.kind],
        "frames_ago": alarm.frames,
        "scales": _rounded(alarm.shift),
        "cells_moved": f"{alarm.cells_moved} of {len(alarm.cells)}",
        "ng_share": round(alarm.ng_share, 2),
    }


def _status_fields(status: DriftStatus) -> dict[str, Any]:
    return {
        "state": status.state.value,
        "learned": round(status.learned, 3),
        "ng_share": round(status.ng_share, 3),
        "distance": [float(f"{distance:.4g}") for distance in status.distance],
        "scales": _rounded(status.shift),
        "cells_moved": sum(abs(shift) > SLACK for shift in status.cells),
    }


def _rounded(shifts: tuple[float, ...]) -> list[float]:
    return [round(shift, 2) for shift in shifts]
