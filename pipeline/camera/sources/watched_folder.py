"""A folder into which somebody drops pictures. A cursor is `CHANGED-NS/RELATIVE-NAME`.

Files are taken in the order in which they came to rest: by the time of their last change (ctime,
which writing and renaming both set). One that is written over is a new part.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.errors import PictureError
from pipeline.camera.pace import FramePacer, Wait
from pipeline.camera.picture_guard import PictureGuard
from pipeline.camera.source import PartNames, Shot, unreadable_shot
from pipeline.camera.sources.folder import is_picture_name, walk_folders
from pipeline.errors import CameraLost, SettingsError


@dataclass(frozen=True, slots=True)
class _Stamp:
    """What changes when a file is written."""

    changed_ns: int
    written_ns: int
    size: int

    def same_picture(self, other: "_Stamp | None") -> bool:
        """Whether the content is the same: a mere change of rights or links is no new part."""
        return other is not None and (self.written_ns, self.size) == (other.written_ns, other.size)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a watched folder waits for whom, seconds."""

    poll_s: float = 0.1  # between two looks
    settle_s: float = 0.3  # a file that has not changed for so long is whole
    damaged_s: float = 3.0  # one that does not decode may still be copied so long


class WatchedFolderSource:
    """Gives each picture that appears in a folder, once it is whole; never ends by itself."""

    live = False

    def __init__(
        self,
        folder: Path,
        pacer: FramePacer,
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        wait: Wait,
        part_names: PartNames | None = None,
        patience: Patience | None = None,
    ) -> None:
        """Take a folder.

        Args:
            folder: watched with its subfolders; what lies there already counts as new.
            pacer: when the next shot is due.
            clock: monotonic seconds.
            clock_ns: UTC; a shot is captured when it is taken up, whatever the file's date.
            wait: sleeps between two looks; what it returns ends the source.
            part_names: finds the part id in the relative name.
            patience: how long to wait for what.

        Raises:
            SettingsError: no such folder.
        """
        if not folder.is_dir():
            raise SettingsError(f"no folder {folder}")
        self._folder = folder
        self._pacer = pacer
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._part_names = part_names or PartNames(None)
        self._patience = patience or Patience()
        self._given: dict[str, _Stamp] = {}
        self.guard = PictureGuard()  # reads the pictures

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Give every picture that came to rest after `cursor`, for ever.

        Raises:
            SettingsError: the cursor is not of a watched folder.
            CameraLost: the folder is gone.
        """
        start = newest = _parse_cursor(cursor)
        seen: dict[str, tuple[_Stamp, float]] = {}
        while True:
            seen = self._look(seen)
            for name in self._whole(seen, start):
                if self._pacer.stopped():
                    return
                stamp, since = seen[name]
                place = max(newest, (stamp.changed_ns, name))
                shot = self._shot(name, f"{place[0]}/{place[1]}", since)
                if shot is None:
                    break  # in order: what came later waits too
                newest = place
                self._given[name] = stamp
                yield shot
            if self._wait(self._patience.poll_s):
                return

    def _look(self, before: dict[str, tuple[_Stamp, float]]) -> dict[str, tuple[_Stamp, float]]:
        """Give every picture's stamp, and since when it is so."""
        now = self._clock()
        seen = {}
        for name, stamp in _stamps(self._folder):
            known = before.get(name)
            seen[name] = known if known and known[0] == stamp else (stamp, now)
        if not seen and not self._folder.is_dir():
            raise CameraLost(f"folder {self._folder} is gone")
        self._given = {name: stamp for name, stamp in self._given.items() if name in seen}
        return seen

    def _whole(self, seen: dict[str, tuple[_Stamp, float]], start: tuple[int, str]) -> list[str]:
        """Name the pictures to give now, in the order in which they came to rest."""
        rested = self._clock() - self._patience.settle_s
        ready = [
            (stamp.changed_ns, name)
            for name, (stamp, since) in seen.items()
            if since <= rested and not stamp.same_picture(self._given.get(name))
        ]
        return [name for changed_ns, name in sorted(ready) if (changed_ns, name) > start]

    def _shot(self, name: str, cursor: str, since: float) -> Shot | None:
        """Read a picture; None where it does not decode yet and may still be copied."""
        captured_ns = self._clock_ns()
        part_id = self._part_names.find(name)
        path = self._folder / name
        try:
            pixels = self.guard.read(path, cursor)
        except PictureError as error:
            if not self._folder.is_dir():
                raise CameraLost(f"folder {self._folder} is gone") from error
            if path.exists() and self._clock() - since < self._patience.damaged_s:
                return None
            return unreadable_shot(str(error), captured_ns, part_id, cursor)
        return Shot(pixels, captured_ns, part_id, cursor)

    def close(self) -> None:
        """Nothing is held."""


def _stamps(folder: Path) -> Iterator[tuple[str, _Stamp]]:
    for where, files in walk_folders(folder):
        for file in filter(is_picture_name, files):
            path = Path(where) / file
            try:
                found = _status(path)
            except FileNotFoundError:
                continue
            yield (
                path.relative_to(folder).as_posix(),
                _Stamp(found.st_ctime_ns, found.st_mtime_ns, found.st_size),
            )


def _status(path: Path) -> os.stat_result:
    """Return the status of a file, or of a link that leads to none that can be looked at."""
    try:
        return path.stat()
    except FileNotFoundError:
        raise
    except OSError:  # a loop of links, for example: a part whose picture cannot be read
        return path.lstat()


def _parse_cursor(cursor: str) -> tuple[int, str]:
    """Give (time of the last change, name) of the last picture given."""
    if not cursor:
        return 0, ""
    changed, slash, name = cursor.partition("/")
    if not slash or not changed.isdecimal():
        raise SettingsError(
            f"cursor {cursor!r:.80} is not of a watched folder: give the camera a new name"
        )
    return int(changed), name
