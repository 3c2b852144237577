"""Drift of every camera that a worker judges: fed with judgements, said in logs and reports."""

import logging
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
_LOOK_AT = {
    DriftState.CAMERA: "most of the picture moved: look at the camera, its focus and the light",
    DriftState.PROCESS: "some places or scales moved: look at the parts",
}
_log = logging.getLogger(__name__)


class DriftMonitor:
    """A watch for each camera, begun anew with each engine. Fed by one thread at a time."""

    def __init__(self) -> None:
        self._engine = ""
        self._detectors: dict[str, DriftDetector] = {}
        self._too_many_said = False

    def observe(self, camera: str, judgement: Judgement) -> Alarm | None:
        """Take in what an engine said of a frame; an alarm, when one begins, is logged."""
        if judgement.engine.sha256 != self._engine:
            self._detectors = {}
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
        """Say the same in plain values, for the heartbeat."""
        return {camera: _status_fields(one) for camera, one in self.statuses().items()}

    def _detector(self, camera: str, judgement: Judgement) -> DriftDetector | None:
        if (detector := self._detectors.get(camera)) is not None:
            return detector
        if len(self._detectors) >= MOST_CAMERAS:
            if not self._too_many_said:
                self._too_many_said = True
                fields = {"camera": camera, "watched": MOST_CAMERAS}
                _log.warning("drift.too_many_cameras", extra=fields)
            return None
        detector = DriftDetector(len(judgement.distance), len(judgement.cells))
        self._detectors[camera] = detector
        return detector


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
