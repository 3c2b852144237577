"""Making room in an archive: what is too old, then what was kept by chance, then the oldest.

A worker trims every minute, and an archive may hold a hundred thousand frames: an hour that nobody
has changed since the last time is not looked at again, and one hour at a time is in memory.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engines.files import locked
from pipeline.archive.files import (
    CHANCE,
    PICTURE,
    PIN,
    VERDICT,
    Files,
    age_key,
    began_s,
    files_in,
    hours_in,
)

_ABANDONED_S = 600  # a file without a verdict: no writer takes so long for the rest
_SETTLED_NS = 2 * 10**9  # a folder's time is coarse: one changed just now may change unseen
Wanted = Callable[[str, Files], bool]


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What trimming did."""

    removed: int  # frames
    kept_bytes: int
    pinned_bytes: int  # of these


@dataclass(frozen=True, slots=True)
class _Sum:
    """What an hour's frames take."""

    size: int
    pinned: int
    by_chance: int  # of what is not pinned
    unfinished: bool  # whether there are files without a verdict


class Trimmer:
    """Trims the frames of one line; remembers what hours take."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sums: dict[Path, tuple[int, _Sum]] = {}  # hour -> when it was changed, what it takes
        self._left = 0
        self._removed = 0

    def trim(self, most_bytes: int, most_age_s: float, now: float) -> Trimmed:
        """Remove what must go; see `Archive.trim`."""
        sums = self._look()
        self._left, self._removed = sum(one.size for one in sums.values()), 0
        for hour, one in sums.items():
            if one.unfinished or now - began_s(hour) > most_age_s:
                self._remove(hour, lambda entry, files: _is_over(entry, files, most_age_s, now))
        for by_chance in (True, False):
            for hour, one in sums.items():
                if self._left <= most_bytes:
                    break
                if one.by_chance or not by_chance:
                    self._make_room(hour, most_bytes, by_chance=by_chance)
        return Trimmed(self._removed, self._left, sum(one.pinned for one in sums.values()))

    def _look(self) -> dict[Path, _Sum]:
        known, self._sums = self._sums, {}
        for hour in hours_in(self._folder):
            with suppress(FileNotFoundError):
                changed_ns = hour.stat().st_mtime_ns
                before = known.get(hour)
                one = before[1] if before and before[0] == changed_ns else _sum_up(files_in(hour))
                self._sums[hour] = (changed_ns, one)
        found = {hour: one for hour, (_, one) in self._sums.items()}
        settled_ns = time.time_ns() - _SETTLED_NS
        self._sums = {hour: one for hour, one in self._sums.items() if one[0] < settled_ns}
        return found

    def _make_room(self, hour: Path, most_bytes: int, *, by_chance: bool) -> None:
        def goes(_entry: str, files: Files) -> bool:
            chosen = VERDICT in files.parts and (CHANCE in files.parts or not by_chance)
            return chosen and self._left > most_bytes

        self._remove(hour, goes)

    def _remove(self, hour: Path, goes: Wanted) -> None:
        """Remove what goes of an hour, oldest first, but nothing pinned."""
        with locked(self._folder):
            found = files_in(hour)
            for entry_id in sorted(found, key=age_key):
                files = found[entry_id]
                if PIN in files.parts or not goes(entry_id, files):
                    continue
                for suffix in (VERDICT, PICTURE, CHANCE):  # without a verdict it is no frame
                    (hour / f"{entry_id}{suffix}").unlink(missing_ok=True)
                for name in files.halves:
                    (hour / name).unlink(missing_ok=True)
                self._left -= files.size
                self._removed += VERDICT in files.parts
        with suppress(OSError):  # not empty
            hour.rmdir()


def _sum_up(found: dict[str, Files]) -> _Sum:
    pinned = sum(files.size for files in found.values() if PIN in files.parts)
    chance = [files for files in found.values() if CHANCE in files.parts and PIN not in files.parts]
    return _Sum(
        size=sum(files.size for files in found.values()),
        pinned=pinned,
        by_chance=sum(files.size for files in chance),
        unfinished=any(VERDICT not in files.parts for files in found.values()),
    )


def _is_over(entry_id: str, files: Files, most_age_s: float, now: float) -> bool:
    """Return whether a frame's time is over, or its writer was killed before it was one."""
    if VERDICT not in files.parts:
        return now - files.newest_s > _ABANDONED_S
    return now - age_key(entry_id)[0] / 1e3 > most_age_s
