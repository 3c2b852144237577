"""Frames with their verdicts on disk, for labels that come later: bounded in bytes and age.

ARCHIVE/LINE/HOUR/ENTRY_ID.png     pixels as the engine saw them
                  ENTRY_ID.json    the verdict, mask included; written last: it makes the frame
                  ENTRY_ID.chance  kept by chance: such frames make room first
                  ENTRY_ID.pin     has a label: stays until it is unpinned

Several processes write and read it at once. Writing needs no lock: an entry has one verdict, so one
writer. Trimming and pinning exclude each other by a lock on ARCHIVE/LINE.
"""

import fcntl
import json
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.manifest import write_atomic
from engines.pictures import read_picture
from pipeline.codecs import Codec, encode_pixels
from pipeline.streams.keys import check_name

MAX_VERDICT_BYTES = 64 << 20
_ENTRY_ID = re.compile(r"([0-9]{1,15})-[0-9]{1,20}")
# .ENTRY_ID.png.CHANCE is a picture that is being written
_FILE_NAME = re.compile(r"(?P<half>\.?)(?P<entry>[0-9]{1,15}-[0-9]{1,20})(?P<suffix>\.[a-z0-9.]+)")
_LATEST_MS = 253_402_300_799_999  # the last hour that has a name
_HOUR = "%Y%m%dT%H"
_HOUR_NAME = re.compile(r"[0-9]{8}T[0-9]{2}")
_HOUR_S = 3600
_PICTURE, _VERDICT, _CHANCE, _PIN = ".png", ".json", ".chance", ".pin"
_ABANDONED_S = 600  # a file without a verdict: no writer takes so long for the rest
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """A frame as the engine saw it, and the verdict that was published."""

    entry_id: str
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB
    verdict: dict[str, Any]  # as verdict_fields gives it, mask included; result_id is empty


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What trimming did."""

    removed: int  # frames
    kept_bytes: int
    pinned_bytes: int  # of these


@dataclass(slots=True)
class _Files:
    """What lies there under one entry id."""

    hour: Path
    parts: dict[str, int] = field(default_factory=dict)  # suffix -> bytes
    halves: list[str] = field(default_factory=list)  # names of what is being written
    newest_s: float = 0.0  # when the last of them was written

    @property
    def size(self) -> int:
        return sum(self.parts.values())


class Archive:
    """The archived frames of one line."""

    def __init__(self, folder: Path, line: str) -> None:
        self.folder = folder / check_name(line)
        self._named: dict[str, tuple[str, int, str]] = {}  # entry -> camera, seq, part

    def store(self, frame: ArchivedFrame, *, by_chance: bool) -> int:
        """Write a frame; returns its bytes.

        Raises:
            OSError: the disk is full, or not ours to write.
            UnreadableFrame: pixels that are no picture.
        """
        hour = self._hour(frame.entry_id)
        if hour is None:
            raise ValueError(f"entry {frame.entry_id!r:.80} is none")
        picture = encode_pixels(frame.pixels, Codec.PNG)
        verdict = json.dumps(frame.verdict).encode()
        hour.mkdir(parents=True, exist_ok=True)
        if by_chance:
            (hour / f"{frame.entry_id}{_CHANCE}").touch()
        write_atomic(hour / f"{frame.entry_id}{_PICTURE}", picture)
        write_atomic(hour / f"{frame.entry_id}{_VERDICT}", verdict)
        return len(picture) + len(verdict)

    def find(self, entry_id: str) -> ArchivedFrame | None:
        """Give a frame, or None where it never was archived, has expired or is damaged (logged)."""
        verdict = self.verdict(entry_id)
        if verdict is None:
            return None
        try:
            return ArchivedFrame(entry_id, read_picture(self.picture_path(entry_id)), verdict)
        except PictureError as error:
            if not self.picture_path(entry_id).exists():
                return None  # expired this moment
            _log.warning("archive.damaged", extra={"entry": entry_id, "why": str(error)})
            return None

    def verdict(self, entry_id: str) -> dict[str, Any] | None:
        """Give the verdict of a frame without its picture, or None as `find`."""
        hour = self._hour(entry_id)
        if hour is None:
            return None
        path = hour / f"{entry_id}{_VERDICT}"
        try:
            return _read_verdict(path, entry_id)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _log.warning("archive.damaged", extra={"entry": entry_id, "why": str(error)})
            return None

    def picture_path(self, entry_id: str) -> Path:
        """Where the picture of an archived frame lies."""
        hour = self._hour(entry_id)
        assert hour is not None, entry_id  # noqa: S101  # asked for archived frames only
        return hour / f"{entry_id}{_PICTURE}"

    def entries(self) -> Iterator[str]:
        """Give the ids of all archived frames, oldest first."""
        for hour in self._hours():
            found = _listed(hour)
            yield from sorted((one for one in found if _VERDICT in found[one].parts), key=_age)

    def find_part(self, part_id: str) -> list[str]:
        """Find the entries of a part, oldest first. The first search reads every verdict."""
        named = self._names()
        return [entry_id for entry_id in named if named[entry_id][2] == part_id]

    def find_seq(self, camera: str, seq: int) -> list[str]:
        """Find the entries of a camera's `seq`, oldest first; more than one if it began anew."""
        named = self._names()
        return [entry_id for entry_id in named if named[entry_id][:2] == (camera, seq)]

    def _names(self) -> dict[str, tuple[str, int, str]]:
        """Camera, seq and part of every archived frame; reads what is new since the last time."""
        known, self._named = self._named, {}
        for entry_id in self.entries():
            if entry_id in known:
                self._named[entry_id] = known[entry_id]
            elif verdict := self.verdict(entry_id):
                camera, seq, part = (verdict.get(name) for name in ("camera", "seq", "part_id"))
                if isinstance(camera, str) and isinstance(seq, int) and isinstance(part, str):
                    self._named[entry_id] = (camera, seq, part)
        return self._named

    def pin(self, entry_id: str) -> bool:
        """Keep a frame until it is unpinned; False if it is not archived, or no longer."""
        hour = self._hour(entry_id)
        if hour is None or not hour.is_dir():
            return False
        with self._locked():
            if not (hour / f"{entry_id}{_VERDICT}").is_file():
                return False
            (hour / f"{entry_id}{_PIN}").touch()
            return True

    def unpin(self, entry_id: str) -> None:
        """Let a frame go when its time comes."""
        if hour := self._hour(entry_id):
            with suppress(FileNotFoundError):
                (hour / f"{entry_id}{_PIN}").unlink()

    def is_pinned(self, entry_id: str) -> bool:
        """Whether a frame is kept for its label."""
        hour = self._hour(entry_id)
        return hour is not None and (hour / f"{entry_id}{_PIN}").is_file()

    def trim(self, most_bytes: int, most_age_s: float, now: float) -> Trimmed:
        """Remove what is too old, then what is too much: kept by chance first, then the oldest.

        Pinned frames stay, whatever they take.

        Args:
            most_bytes: what all frames of the line may take.
            most_age_s: what is older goes, counted from the entry's admission.
            now: seconds since the epoch.
        """
        found: dict[str, _Files] = {}
        for hour in self._hours():
            found |= _listed(hour)
        free = sorted((one for one in found if _PIN not in found[one].parts), key=_age)
        doomed = [one for one in free if _is_over(one, found[one], most_age_s, now)]
        left = sum(files.size for files in found.values()) - sum(found[one].size for one in doomed)
        gone = set(doomed)
        for entry_id in sorted(free, key=lambda one: (_CHANCE not in found[one].parts, *_age(one))):
            if left <= most_bytes:
                break
            if entry_id not in gone and _VERDICT in found[entry_id].parts:
                doomed.append(entry_id)
                left -= found[entry_id].size
        removed = self._remove({one: found[one] for one in doomed}) if doomed else 0
        pinned = sum(files.size for files in found.values() if _PIN in files.parts)
        return Trimmed(removed, left, pinned)

    def _remove(self, doomed: dict[str, _Files]) -> int:
        removed = 0
        with self._locked():
            for entry_id, files in doomed.items():
                if (files.hour / f"{entry_id}{_PIN}").exists():
                    continue  # a label came meanwhile
                for suffix in (_VERDICT, _PICTURE, _CHANCE):  # without a verdict it is no frame
                    (files.hour / f"{entry_id}{suffix}").unlink(missing_ok=True)
                for name in files.halves:
                    (files.hour / name).unlink(missing_ok=True)
                removed += _VERDICT in files.parts
        for hour in {files.hour for files in doomed.values()}:
            with suppress(OSError):  # not empty yet
                hour.rmdir()
        return removed

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _hours(self) -> list[Path]:
        with suppress(FileNotFoundError):
            return sorted(one for one in self.folder.iterdir() if _HOUR_NAME.fullmatch(one.name))
        return []

    def _hour(self, entry_id: str) -> Path | None:
        """Give the folder of an entry, after the hour of its admission; None if it is no entry."""
        match = _ENTRY_ID.fullmatch(entry_id)
        if match is None or int(match[1]) > _LATEST_MS:
            return None
        admitted = datetime.fromtimestamp(int(match[1]) / 1e3, UTC)
        return self.folder / admitted.strftime(_HOUR)


def _read_verdict(path: Path, entry_id: str) -> dict[str, Any]:
    if path.stat().st_size > MAX_VERDICT_BYTES:
        raise ValueError(f"more than {MAX_VERDICT_BYTES} bytes")
    fields = json.loads(path.read_bytes())
    if not isinstance(fields, dict) or fields.get("entry_id") != entry_id:
        raise ValueError("not the verdict of this entry")
    return fields


def _listed(hour: Path) -> dict[str, _Files]:
    """The files of an hour by entry id; those that are no frame yet too."""
    found: dict[str, _Files] = {}
    with suppress(FileNotFoundError), os.scandir(hour) as files:
        for file in files:
            match = _FILE_NAME.fullmatch(file.name)
            if match is None:
                continue
            with suppress(FileNotFoundError):
                status = file.stat(follow_symlinks=False)
                one = found.setdefault(match["entry"], _Files(hour))
                one.newest_s = max(one.newest_s, status.st_mtime)
                if match["half"]:
                    one.halves.append(file.name)
                else:
                    one.parts[match["suffix"]] = status.st_size
    return found


def _age(entry_id: str) -> tuple[int, int]:
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def _is_over(entry_id: str, files: _Files, most_age_s: float, now: float) -> bool:
    """Whether a frame's time is over, or its writer was killed before it was one."""
    if _VERDICT not in files.parts:
        return now - files.newest_s > _ABANDONED_S
    return now - _age(entry_id)[0] / 1e3 > most_age_s
