"""What a worker sees of the line's other workers: whether they serve the same engine."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

from pipeline.errors import UnreadableFrame
from pipeline.frames import EngineName
from pipeline.wire import decode_report
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.reader import EntryDecoder

MOST_MISFITS = 8  # frames in a row of another size
_WHY_DIFFERENT = (
    "two engines judge one line, so the verdict of a part depends on chance: give every worker the "
    "same --engine, or --registry"
)
_WHY_ZONES_DIFFER = (
    "two workers of one line inspect different zones, so the verdict of a part depends on chance: "
    "give every worker the same --zones file"
)
_log = logging.getLogger(__name__)


class PeerComparison:
    """Compares this worker with the others, which it knows by their heartbeats.

    A worker that was started with an engine of another input size than the frames of the line would
    take its share of them and answer UNREADABLE. It stops taking frames while another worker can
    judge them.
    """

    def __init__(
        self,
        beats: Callable[[], Mapping[str, bytes]],
        active: ActiveEngine,
        decoder: EntryDecoder,
        zones: Callable[[], str] = lambda: "",
    ) -> None:
        """Take what gives the heartbeats of the other workers, by name, and our zones' hash."""
        self._zones = zones
        self._beats = beats
        self._active = active
        self._decoder = decoder
        self._different: set[tuple[str, str]] = set()  # workers and their engines, as logged
        self._unlike: set[tuple[str, str]] = set()  # workers and their zones, at the last look
        self._unlike_logged: set[tuple[str, str]] = set()
        self.misfit = ""  # why this worker takes no frames, or nothing

    def look(self) -> None:
        """Read the heartbeats and log what changed.

        Raises:
            ConnectionLost, RedisUnfit: they cannot be read.
        """
        reports = {name: _report(beat) for name, beat in self._beats().items()}
        self._compare_engines(reports)
        self._compare_zones(reports)
        self._compare_sizes(reports)

    def _compare_engines(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Log a different engine, unless both come from a registry: then one follows the other."""
        ours = self._active.current
        different = {
            (name, str(report["sha256"]))
            for name, report in reports.items()
            if report.get("sha256", ours.name.sha256) != ours.name.sha256
            and not (ours.version and report.get("promoted"))
        }
        for name, sha256 in sorted(different - self._different):
            theirs = EngineName(
                str(reports[name].get("engine")), str(reports[name].get("version")), sha256
            )
            fields = {"worker": name, "theirs": _shown(theirs), "ours": _shown(ours.name)}
            _log.error("engines.differ", extra={**fields, "why": _WHY_DIFFERENT})
        self._different = different

    def _compare_zones(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        """Log different zones, once two looks saw them: a change takes a second to spread."""
        ours = self._zones()
        unlike = {
            (name, str(report.get("zones", "")))
            for name, report in reports.items()
            if "sha256" in report and str(report.get("zones", "")) != ours
        }
        lasting = unlike & self._unlike
        for name, theirs in sorted(lasting - self._unlike_logged):
            shas = {"theirs": theirs[:12] or "none", "ours": ours[:12] or "none"}
            _log.error("zones.differ", extra={"worker": name, **shas, "why": _WHY_ZONES_DIFFER})
        self._unlike, self._unlike_logged = unlike, lasting

    def _compare_sizes(self, reports: Mapping[str, Mapping[str, Any]]) -> None:
        shape = self._decoder.misfit_shape
        fitting = [
            name
            for name, report in sorted(reports.items())
            if shape and report.get("input_size") == list(shape) and not report.get("misfit")
        ]
        if self._decoder.misfits < MOST_MISFITS or not fitting or shape is None:
            if self.misfit:
                _log.warning("worker.takes_again", extra={"why": "no other worker can judge them"})
                self._decoder.misfits = 0
            self.misfit = ""
            return
        if not self.misfit:
            height, width = self._active.current.lanes[0].input_size
            self.misfit = (
                f"this line's frames are {shape[0]}x{shape[1]} and the engine of this worker takes "
                f"{height}x{width} (height x width): {fitting[0]} judges them; give this worker "
                "the line's engine"
            )
            _log.error("worker.misfit", extra={"why": self.misfit})


def _report(beat: bytes) -> Mapping[str, Any]:
    try:
        return decode_report(beat)
    except UnreadableFrame:
        return {}  # of a later version, or foreign: nothing can be said of it


def _shown(engine: EngineName) -> str:
    return f"{engine.model} {engine.version} {engine.sha256[:12]}"
