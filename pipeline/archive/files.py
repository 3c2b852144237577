"""How an archive lies on disk, and who may change it.

ARCHIVE/LINE/HOUR/ENTRY_ID.png     pixels as the engine saw them
                  ENTRY_ID.json    the verdict, mask included; written last: it makes the frame
                  ENTRY_ID.chance  kept by chance: such frames make room first
                  ENTRY_ID.pin     has a label: stays until it is unpinned

Several processes write and read at once. Writing needs no lock: an entry has one verdict, so one
writer. Trimming and pinning exclude each other by a lock on ARCHIVE/LINE.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PICTURE, VERDICT, CHANCE, PIN = ".png", ".json", ".chance", ".pin"
_ENTRY_ID = re.compile(r"[0-9]{1,15}-[0-9]{1,20}")
# .ENTRY_ID.png.CHANCE is a picture that is being written
_FILE_NAME = re.compile(rf"(?P<half>\.?)(?P<entry>{_ENTRY_ID.pattern})(?P<suffix>\.[a-z0-9.]+)")
_LATEST_MS = 253_402_300_799_999  # the last hour that has a name
_HOUR = "%Y%m%dT%H"
_HOUR_NAME = re.compile(r"[0-9]{8}T[0-9]{2}")


@dataclass(slots=True)
class Files:
    """What lies there under one entry id; it need not be a frame yet."""

    parts: dict[str, int] = field(default_factory=dict)  # suffix -> bytes
    halves: list[str] = field(default_factory=list)  # names of what is being written
    newest_s: float = 0.0  # when the last of them was written

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(self.parts.values())


def hour_of(folder: Path, entry_id: str) -> Path | None:
    """Return the folder of an entry, after the hour of its admission; None if it is no entry."""
    if not _ENTRY_ID.fullmatch(entry_id) or age_key(entry_id)[0] > _LATEST_MS:
        return None
    admitted = datetime.fromtimestamp(age_key(entry_id)[0] / 1e3, UTC)
    return folder / admitted.strftime(_HOUR)


def hours_in(folder: Path) -> list[Path]:
    """Return the folders of all hours, oldest first."""
    with suppress(FileNotFoundError):
        return sorted(one for one in folder.iterdir() if _HOUR_NAME.fullmatch(one.name))
    return []


def began_s(hour: Path) -> float:
    """When an hour began, seconds since the epoch; the last moment for one that never was."""
    with suppress(ValueError):
        return datetime.strptime(hour.name, _HOUR).replace(tzinfo=UTC).timestamp()
    return _LATEST_MS / 1e3


def age_key(entry_id: str) -> tuple[int, int]:
    """By what entries are sorted: milliseconds of the admission, and their number in it."""
    milliseconds, _, number = entry_id.partition("-")
    return int(milliseconds), int(number)


def frames_in(hour: Path) -> list[str]:
    """Return the ids of the frames of an hour, oldest first."""
    names: list[str] = []
    with suppress(FileNotFoundError), os.scandir(hour) as files:
        names = [file.name for file in files]
    stems = [name.removesuffix(VERDICT) for name in names if name.endswith(VERDICT)]
    return sorted(filter(_ENTRY_ID.fullmatch, stems), key=age_key)


def files_in(hour: Path) -> dict[str, Files]:
    """Return the files of an hour by entry id; those that are no frame yet too."""
    found: dict[str, Files] = {}
    with suppress(FileNotFoundError), os.scandir(hour) as files:
        for file in files:
            match = _FILE_NAME.fullmatch(file.name)
            if match is None:
                continue
            with suppress(FileNotFoundError):
                status = file.stat(follow_symlinks=False)
                one = found.setdefault(match["entry"], Files())
                one.newest_s = max(one.newest_s, status.st_mtime)
                if match["half"]:
                    one.halves.append(file.name)
                else:
                    one.parts[match["suffix"]] = status.st_size
    return found
