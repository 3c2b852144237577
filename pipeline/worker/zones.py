"""The zones that a worker judges by: those of a watched file, or those of its engine."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from engines.errors import EngineError
from engines.zones.pixels import ZonePixels, zone_pixels
from engines.zones.read import ZonesFile, read_zones_file
from engines.zones.schema import ZoneSet
from pipeline.worker.active_engine import LoadedEngine

LOOK_EVERY_S = 1.0
_SHA_CHARS = 12
_UNLEARNED = (
    "the engine was trained with other zones than these: what it never learned may be called a "
    "defect; train it with the file that the line uses"
)
_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(slots=True)
class LineZones:
    """Zones at one frame size, drawn once for each camera that they name."""

    zones: ZoneSet
    size: tuple[int, int]  # (height, width)
    sha256: str = field(init=False)
    _drawn: dict[str, ZonePixels] = field(default_factory=dict)
    _strangers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.sha256 = self.zones.sha256

    def of(self, camera: str) -> ZonePixels:
        """Return the zones of a camera; all that no zone names share theirs.

        Raises:
            ZoneError: a zone covers no pixel, or nothing is left to inspect.
        """
        key = camera if camera in self.zones.cameras else ""
        if key not in self._drawn:
            self._drawn[key] = zone_pixels(self.zones, key, self.size)
        if not key and self.zones.cameras and not self._strangers:
            self._strangers.add(camera)  # the first one: names come from outside and may be many
            why = f"zones name {', '.join(sorted(self.zones.cameras))}: is the name right?"
            _log.warning("zones.camera_unnamed", extra={"camera": camera, "why": why})
        return self._drawn[key]

    def check(self) -> None:
        """Draw the zones of every camera.

        Raises:
            ZoneError: as `of`.
        """
        for camera in ("", *sorted(self.zones.cameras)):
            key = camera
            self._drawn[key] = zone_pixels(self.zones, key, self.size)


class ZonesInForce:
    """Which zones judge. A file that changes is taken between two batches, or refused."""

    def __init__(self, path: Path, product: str, engine: LoadedEngine) -> None:
        """Read the file for the first time.

        Raises:
            ZoneError: it cannot be judged by.
        """
        self._path = path
        self._product = product
        self._size = engine.lanes[0].input_size
        self._stamp: _Stamp = ()
        self._files: tuple[Path, ...] = (path,)
        self.refusal = ""  # why the file as it is now is not in force, or nothing
        self._stamp = _stamp(self._files)
        self.current = self._read()
        fields = _described(self.current.zones)
        _log.info("zones.taken", extra={"file": str(path), **fields})
        warn_unlike_training(self.current.zones, engine)

    def look(self) -> None:
        """Take the file again if it changed; a bad one is refused and the zones stay."""
        stamp = _stamp(self._files)
        if stamp == self._stamp and not self.refusal:
            return  # a refused file is read again: a mask picture that it names may come later
        self._stamp = stamp
        before = self.current.sha256
        try:
            self.current = self._read()
        except EngineError as error:
            if str(error) == self.refusal:
                return
            self.refusal = str(error)
            fields = {"file": str(self._path), "kept": before[:_SHA_CHARS]}
            _log.error("zones.refused", extra={**fields, "why": self.refusal})
            return
        self.refusal = ""
        self._stamp = _stamp(self._files)
        fields = _described(self.current.zones)
        _log.warning("zones.taken", extra={"file": str(self._path), **fields})

    def _read(self) -> LineZones:
        found: ZonesFile = read_zones_file(self._path, self._product)
        taken = LineZones(found.zones, self._size)
        taken.check()
        self._files = found.files
        return taken


def warn_unlike_training(zones: ZoneSet, engine: LoadedEngine) -> None:
    """Warn where an engine learned with other zones than those of the file."""
    if engine.zones is not None and engine.zones.sha256 != zones.sha256:
        learned = engine.zones.sha256[:_SHA_CHARS]
        extra = {"learned": learned, "file": zones.sha256[:_SHA_CHARS], "why": _UNLEARNED}
        _log.warning("zones.unlike_training", extra=extra)


def _described(zones: ZoneSet) -> dict[str, str]:
    names = ", ".join(f"{zone.name} ({zone.kind})" for zone in zones.zones)
    return {"sha256": zones.sha256[:_SHA_CHARS], "zones": names}


def _stamp(files: Iterable[Path]) -> _Stamp:
    stamps: list[tuple[int, int, int] | None] = []
    for path in files:
        try:
            status = path.stat()
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_mtime_ns, status.st_size, status.st_ino))
    return tuple(stamps)
