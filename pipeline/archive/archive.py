"""Frames with their verdicts on disk, for labels that come later: bounded in bytes and age."""

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import locked, parse_json, read_file, write_atomic
from engines.pictures.read import MAX_FILE_BYTES, decode_picture
from pipeline.archive.files import (
    CHANCE,
    PICTURE,
    PIN,
    VERDICT,
    frames_in,
    hour_of,
    hours_in,
)
from pipeline.archive.trim import Trimmed, Trimmer
from pipeline.codecs import Codec, encode_pixels
from pipeline.streams.keys import check_name

MAX_VERDICT_BYTES = 64 << 20
_PNG_HEAD_BYTES = 24  # signature, then length, name, width and height of IHDR
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ArchivedFrame:
    """A frame as the engine saw it, and the verdict that was published."""

    entry_id: str
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB
    verdict: dict[str, Any]  # as verdict_fields gives it, mask included; result_id is empty


class Archive:
    """The archived frames of one line."""

    def __init__(self, folder: Path, line: str) -> None:
        self.folder = folder / check_name(line)
        self._trimmer = Trimmer(self.folder)
        self._named: dict[str, tuple[str, int, str]] = {}  # entry -> camera, seq, part

    def store(self, frame: ArchivedFrame, *, by_chance: bool) -> int:
        """Write a frame; returns its bytes.

        Raises:
            OSError: the disk is full, or not ours to write.
            UnreadableFrame: pixels that are no picture.
        """
        hour = hour_of(self.folder, frame.entry_id)
        if hour is None:
            raise ValueError(f"entry {frame.entry_id!r:.80} is none")
        picture = encode_pixels(frame.pixels, Codec.PNG)
        verdict = json.dumps(frame.verdict).encode()
        with suppress(FileNotFoundError):  # a trim found the hour empty and removed it: once more
            return _write(hour, frame.entry_id, picture, verdict, by_chance=by_chance)
        return _write(hour, frame.entry_id, picture, verdict, by_chance=by_chance)

    def find(self, entry_id: str) -> ArchivedFrame | None:
        """Return a frame, or None where it never was archived, has expired or is damaged (logged).

        Raises:
            OSError: it is there and cannot be read now.
        """
        hour = hour_of(self.folder, entry_id)
        if hour is None:
            return None
        try:
            verdict = _read_verdict(hour / f"{entry_id}{VERDICT}", entry_id)
            picture = _read(self.picture_path(entry_id), MAX_FILE_BYTES)
            return ArchivedFrame(entry_id, decode_picture(picture, entry_id), verdict)
        except FileNotFoundError:
            return None
        except (PictureError, ValueError, RecursionError) as error:
            _damaged(entry_id, error)
            return None

    def frame_size(self, entry_id: str) -> tuple[int, int] | None:
        """Return height and width of a frame without reading its pixels; None if unknown."""
        hour = hour_of(self.folder, entry_id)
        if hour is None:
            return None
        try:
            with (hour / f"{entry_id}{PICTURE}").open("rb") as file:
                head = file.read(_PNG_HEAD_BYTES)
        except OSError:
            return None  # `find` says why
        if len(head) < _PNG_HEAD_BYTES or head[12:16] != b"IHDR":
            return None
        return int.from_bytes(head[20:24]), int.from_bytes(head[16:20])

    def verdict(self, entry_id: str) -> dict[str, Any] | None:
        """Return a frame's verdict without its picture, or None if it cannot be read."""
        hour = hour_of(self.folder, entry_id)
        if hour is None:
            return None
        try:
            return _read_verdict(hour / f"{entry_id}{VERDICT}", entry_id)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, RecursionError) as error:
            _damaged(entry_id, error)
            return None

    def picture_path(self, entry_id: str) -> Path:
        """Where the picture of an archived frame lies."""
        hour = hour_of(self.folder, entry_id)
        assert hour is not None, entry_id  # noqa: S101  # asked for archived frames only
        return hour / f"{entry_id}{PICTURE}"

    def entries(self) -> Iterator[str]:
        """Yield the ids of all archived frames, oldest first."""
        for hour in hours_in(self.folder):
            yield from frames_in(hour)

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
        hour = hour_of(self.folder, entry_id)
        if hour is None or not hour.is_dir():
            return False
        with locked(self.folder):
            if not (hour / f"{entry_id}{VERDICT}").is_file():
                return False
            (hour / f"{entry_id}{PIN}").touch()
            return True

    def unpin(self, entry_id: str) -> None:
        """Stop keeping a frame beyond its time, as nobody needs it for a label."""
        if hour := hour_of(self.folder, entry_id):
            with suppress(FileNotFoundError):
                (hour / f"{entry_id}{PIN}").unlink()

    def is_pinned(self, entry_id: str) -> bool:
        """Return whether a frame is kept for its label."""
        hour = hour_of(self.folder, entry_id)
        return hour is not None and (hour / f"{entry_id}{PIN}").is_file()

    def trim(self, most_bytes: int, most_age_s: float, now: float) -> Trimmed:
        """Remove what is too old, then what is too much: kept by chance first, then the oldest.

        Pinned frames stay, whatever they take.

        Args:
            most_bytes: what all frames of the line may take.
            most_age_s: what is older goes, counted from the entry's admission.
            now: seconds since the epoch.
        """
        return self._trimmer.trim(most_bytes, most_age_s, now)


def _write(hour: Path, entry_id: str, picture: bytes, verdict: bytes, *, by_chance: bool) -> int:
    hour.mkdir(parents=True, exist_ok=True)
    if by_chance:
        (hour / f"{entry_id}{CHANCE}").touch()
    write_atomic(hour / f"{entry_id}{PICTURE}", picture)
    write_atomic(hour / f"{entry_id}{VERDICT}", verdict)
    return len(picture) + len(verdict)


def _damaged(entry_id: str, error: Exception) -> None:
    _log.warning("archive.damaged", extra={"entry": entry_id, "why": str(error)})


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        return read_file(path, most_bytes)
    except OSError as error:
        if error.errno in {errno.EFBIG, errno.EINVAL}:  # of no use later either
            raise ValueError(f"{path.name}: {error.strerror}") from error
        raise


def _read_verdict(path: Path, entry_id: str) -> dict[str, Any]:
    fields = parse_json(_read(path, MAX_VERDICT_BYTES))
    if not isinstance(fields, dict) or fields.get("entry_id") != entry_id:
        raise ValueError("not the verdict of this entry")
    return fields
