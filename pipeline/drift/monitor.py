"""Drift of every camera that a worker judges: fed with judgements, said in logs and reports."""

import logging
from typing import Any

from pipeline.drift.detector import SLACK, Alarm, Standing, State, Watch, read_signals
from pipeline.frames import Decision, Judgement

MOST_CAMERAS = 64  # a camera's name comes from outside
_LOOK_AT = {
    State.CAMERA: "most of the picture moved: look at the camera, its focus and the light",
    State.PROCESS: "some places or scales moved: look at the parts",
}
_log = logging.getLogger(__name__)


class DriftWatch:
    """A watch for each camera, begun anew with each engine. Fed by one thread at a time."""

    def __init__(self) -> None:
        self._engine = ""
        self._watches: dict[str, Watch] = {}
        self._too_many_said = False

    def see(self, camera: str, judgement: Judgement) -> Alarm | None:
        """Take in what an engine said of a frame; an alarm, when one begins, is logged."""
        if judgement.engine.sha256 != self._engine:
            self._watches = {}
            self._engine = judgement.engine.sha256
        if not (judgement.distance or judgement.cells):
            return None
        if (watch := self._watch(camera, judgement)) is None:
            return None
        before = watch.kind
        signals = read_signals(judgement.distance, judgement.cells)
        alarm = watch.see(signals, ng=judgement.judged is Decision.NG)
        if alarm is not None:
            _log.warning("drift.alarm", extra={"camera": camera, **_alarm_fields(alarm)})
        elif before is not None and watch.kind is None:
            _log.info("drift.over", extra={"camera": camera, "kind": before.value})
        return alarm

    def standings(self) -> dict[str, Standing]:
        """Where each camera stands; any thread may ask."""
        return {camera: watch.standing() for camera, watch in list(self._watches.items())}

    def report(self) -> dict[str, dict[str, Any]]:
        """Say the same in plain values, for the heartbeat."""
        return {camera: _standing_fields(one) for camera, one in self.standings().items()}

    def _watch(self, camera: str, judgement: Judgement) -> Watch | None:
        if (watch := self._watches.get(camera)) is not None:
            return watch
        if len(self._watches) >= MOST_CAMERAS:
            if not self._too_many_said:
                self._too_many_said = True
                fields = {"camera": camera, "watched": MOST_CAMERAS}
                _log.warning("drift.too_many_cameras", extra=fields)
            return None
        watch = Watch(len(judgement.distance), len(judgement.cells))
        self._watches[camera] = watch
        return watch


def _alarm_fields(alarm: Alarm) -> dict[str, Any]:
    return {
        "kind": alarm.kind.value,
        "why": _LOOK_AT[alarm.kind],
        "frames_ago": alarm.frames,
        "scales": _rounded(alarm.shift),
        "cells_moved": f"{alarm.cells_moved} of {len(alarm.cells)}",
        "ng_share": round(alarm.ng_share, 2),
    }


def _standing_fields(standing: Standing) -> dict[str, Any]:
    return {
        "state": standing.state.value,
        "learned": round(standing.learned, 3),
        "ng_share": round(standing.ng_share, 3),
        "distance": [float(f"{distance:.4g}") for distance in standing.distance],
        "scales": _rounded(standing.shift),
        "cells_moved": sum(abs(shift) > SLACK for shift in standing.cells),
    }


def _rounded(shifts: tuple[float, ...]) -> list[float]:
    return [round(shift, 2) for shift in shifts]
