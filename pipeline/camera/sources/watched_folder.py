"""A folder into which somebody drops pictures.

Files are taken in the order of their last change (ctime, which writing and renaming both set). A
file that waits to be finished holds up no other. One that is written over is a new part; one whose
content is the same as when it was judged is not, whatever its date says. So is one that is finished
after it was judged unreadable: a part gets one verdict.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from engines.errors import PictureError
from engines.pictures.read import decode_picture
from pipeline.camera.pace import FramePacer, Wait
from pipeline.camera.picture_guard import PictureGuard
from pipeline.camera.source import PartNames, Shot, unreadable_shot
from pipeline.camera.sources.file_ends import FileContent, ends_in_zeros, missing_part, read_content
from pipeline.camera.sources.folder import check_present, existing_folder
from pipeline.camera.sources.folder_scan import FolderScan
from pipeline.camera.sources.taken_files import (
    CheckpointStore,
    ProcessStore,
    TakenFile,
    TakenFiles,
    file_stamp,
    is_taken_cursor,
)
from pipeline.errors import SettingsError

_UNREAD = 0  # hash of the content of a file that could not be read
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a watched folder waits for what, seconds."""

    poll_s: float = 0.1  # between two looks
    settle_s: float = 0.3  # a file that has its end and has not changed for so long is whole
    unfinished_s: float = 10.0  # one whose end is missing may still be copied so long


@dataclass(frozen=True, slots=True)
class _Picture:
    """A file that was read."""

    shot: Shot
    taken: TakenFile


@dataclass(slots=True)
class _Waiting:
    """A file that is not offered yet."""

    since: float  # it is unchanged
    read_closed: bool | None = None  # whether its writer had closed it when it was read last


class WatchedFolderSource:
    """Supplies each picture that appears in a folder, once it is whole; never ends by itself."""

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
        self._folder = existing_folder(folder)
        self._pacer = pacer
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._part_names = part_names or PartNames(None)
        self._patience = patience or Patience()
        self._taken = TakenFiles(ProcessStore())
        self._waiting: dict[str, _Waiting] = {}  # files that are not offered yet
        self.guard = PictureGuard()  # keeps a picture from ending the process again and again

    def remember_in(self, store: CheckpointStore) -> None:
        """Keep checkpoints there from now on."""
        self._taken = TakenFiles(store)

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Supply every picture that was not offered up to `cursor`, for ever.

        Raises:
            SettingsError: the cursor is not of a watched folder.
            CameraLost: the folder is gone.
        """
        older = None if not cursor or is_taken_cursor(cursor) else _parse_old_cursor(cursor)
        if older is None:
            self._taken.restore(cursor)
        self._waiting = {}
        check_present(self._folder)
        scan = FolderScan(self._folder, self._clock)
        try:
            yield from self._follow(scan, older)
        finally:
            scan.close()

    def _follow(self, scan: FolderScan, older: tuple[int, str] | None) -> Iterator[Shot]:
        while True:
            self._look(scan)
            if older is not None:
                self._take_older(scan, older)
                older = None
            for name in self._settled(scan):
                picture = self._picture(scan, name)
                if picture is None:
                    continue
                if self._pacer.stopped():
                    return
                del self._waiting[name]
                cursor = self._taken.add(name, picture.taken, scan.files)
                shot = picture.shot
                yield Shot(shot.pixels, self._clock_ns(), shot.part_id, cursor, shot.unreadable)
            if self._wait(self._patience.poll_s):
                return

    def _look(self, scan: FolderScan) -> None:
        """Note what is new, and since when."""
        now = self._clock()
        for name in scan.look(set(self._waiting)):
            stamp, taken = scan.files[name], self._taken.find(name)
            if taken is None or taken.stamp != file_stamp(stamp.written_ns, stamp.size):
                self._waiting[name] = _Waiting(now)
            else:
                self._waiting.pop(name, None)
        for name in self._waiting.keys() - scan.files.keys():
            del self._waiting[name]
        if not scan.files:
            check_present(self._folder)

    def _take_older(self, scan: FolderScan, newest: tuple[int, str]) -> None:
        """Count what an older release had offered: all up to its newest file."""
        for name, stamp in scan.files.items():
            if (stamp.changed_ns, name) <= newest:
                offered = TakenFile(file_stamp(stamp.written_ns, stamp.size), _UNREAD)
                self._taken.note(name, offered)
                self._waiting.pop(name, None)

    def _settled(self, scan: FolderScan) -> list[str]:
        """Return the files that may be whole, in the order in which they came to rest."""
        settled = [
            (scan.files[name].changed_ns, name)
            for name, waiting in self._waiting.items()
            if self._is_due(scan, name, waiting)
        ]
        return [name for _, name in sorted(settled)]

    def _is_due(self, scan: FolderScan, name: str, waiting: _Waiting) -> bool:
        """Return whether a file may be whole: read it once, and again when anything changes."""
        unchanged_s = self._clock() - waiting.since
        if unchanged_s >= self._patience.unfinished_s:
            return True
        settled = unchanged_s >= self._patience.settle_s and not scan.is_open(name)
        return settled and waiting.read_closed != scan.was_closed(name)

    def _picture(self, scan: FolderScan, name: str) -> _Picture | None:
        """Read a file; None where it is not finished yet, or is no new part."""
        stamp, path = scan.files[name], self._folder / name
        part_id, key = self._part_names.find(name), file_stamp(stamp.written_ns, stamp.size)
        waiting = self._waiting[name]
        patient = self._clock() - waiting.since < self._patience.unfinished_s
        waiting.read_closed = scan.was_closed(name)
        content = None
        try:
            file = read_content(path)
            content = file.content
            if self._is_touched(name, key, content):
                return None
            self._check_end(scan, name, file, patient=patient)
            self.guard.approach(path, name)
            shot = Shot(decode_picture(content, str(path)), 0, part_id, "")
        except PictureError as error:
            check_present(self._folder, error)
            if patient and stamp.regular and path.exists():
                return None
            shot = unreadable_shot(str(error), 0, part_id)
        if content is None:
            return _Picture(shot, TakenFile(key, _UNREAD))
        taken = TakenFile.of(key, content, finished=not shot.unreadable)
        if self._is_continued(name, content, taken):
            return None
        return _Picture(shot, taken)

    def _check_end(self, scan: FolderScan, name: str, file: FileContent, *, patient: bool) -> None:
        """Raise a PictureError where a file is not finished, as far as anyone can tell."""
        if scan.was_closed(name):
            return
        missing = missing_part(file)
        if not missing and ends_in_zeros(file) and (patient or scan.is_open(name)):
            missing = "it ends in zeros"
        if missing:
            raise PictureError(f"{self._folder / name}: {missing}: copy the file again")

    def _is_touched(self, name: str, key: int, content: bytes) -> bool:
        """Return whether only the date of a judged file changed; remember the new one."""
        taken = self._taken.find(name)
        if taken is None or not taken.is_same(content):
            return False
        self._settle(name, TakenFile(key, taken.content))
        return True

    def _is_continued(self, name: str, content: bytes, now: TakenFile) -> bool:
        """Return whether a file goes on that was judged before it was whole; it has its verdict."""
        before = self._taken.find(name)
        if before is None or not before.is_begin_of(content):
            return False
        if not now.unfinished:
            why = (
                "it was UNREADABLE before it was whole, and a part gets one verdict: raise "
                "--patience-s above the time for which a copy may stall"
            )
            _log.warning("picture.late", extra={"file": name, "why": why})
        self._settle(name, now)
        return True

    def _settle(self, name: str, taken: TakenFile) -> None:
        """Remember a file without offering it."""
        self._taken.note(name, taken)
        del self._waiting[name]

    def close(self) -> None:
        """Nothing is held once `shots` has ended."""


def _parse_old_cursor(cursor: str) -> tuple[int, str]:
    """Return (time of the last change, name) of the newest picture that was offered.

    Raises:
        SettingsError: not a cursor of a watched folder.
    """
    changed, slash, name = cursor.partition("/")
    if not slash or not changed.isdecimal():
        raise SettingsError(
            f"cursor {cursor!r:.80} is not of a watched folder: give the camera a new name"
        )
    return int(changed), name
