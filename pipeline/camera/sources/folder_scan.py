"""What is new in a folder and its subfolders, at a cost that follows what is new.

On a local file system the kernel tells what changes, and which files are still open for writing
(inotify). On a network file system it does not: there a folder is listed again when its own date
changes. In both cases every file is looked at now and then, seldom enough to cost little.
"""

import logging
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.pictures.files import is_foreign
from pipeline.camera.sources.folder import is_picture_name

_FRESH_S = 2.5  # a folder whose date changed so short ago may change again without a new date
_FULL_LEAST_S = 5.0
_FULL_SHARE = 20  # of the time, one part may go into looking at every file
_LISTING_SHARE = 10  # and one into listing a folder that changes
_NETWORK = ("nfs", "cifs", "smb", "afs", "ceph", "9p", "fuse", "virtiofs", "vboxsf", "gluster")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class FileStamp:
    """What changes when a file is written."""

    changed_ns: int
    written_ns: int
    size: int
    regular: bool = True


@dataclass(frozen=True, slots=True)
class _Listing:
    """How a folder was when it was listed last."""

    date_ns: int
    since: float  # the date is so
    again_at: float  # list it again then at the earliest


class FolderScan:
    """Follows the picture files of a folder."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self.files: dict[str, FileStamp] = {}
        self._folders: dict[str, _Listing] = {}
        self._writes = WriteWatch.start(folder)
        self._full_at = -1.0

    def close(self) -> None:
        """Stop watching."""
        if self._writes:
            self._writes.close()

    def is_open(self, name: str) -> bool:
        """Return whether a program has written the file and not closed it yet."""
        return self._writes is not None and name in self._writes.open

    def was_closed(self, name: str) -> bool:
        """Return whether the program that wrote the file was seen to close it."""
        return self._writes is not None and name in self._writes.closed

    def look(self, again: set[str]) -> set[str]:
        """Return the names of files that are new or changed since the look before.

        Args:
            again: names to look at in any case: files that are not settled yet.
        """
        events = self._writes.read() if self._writes else set()
        now = self._clock()
        if events is None or now >= self._full_at:
            changed = self._look_at_all()
            cost_s = self._clock() - now
            self._full_at = self._clock() + max(_FULL_LEAST_S, _FULL_SHARE * cost_s)
            return changed
        if self._writes is None:
            events = self._new_names(now)
        return {name for name in events | again if self._restamp(name)}

    def _look_at_all(self) -> set[str]:
        before, self.files, self._folders = self.files, {}, {}
        changed = set()
        waiting = [""]
        while waiting:
            names, folders = self._list(waiting.pop())
            waiting += folders
            for name in names:
                if (stamp := self._stamp(name)) is not None:
                    self.files[name] = stamp
                    if before.get(name) != stamp:
                        changed.add(name)
        if self._writes:
            self._writes.forget(before.keys() - self.files.keys())
        return changed

    def _new_names(self, now: float) -> set[str]:
        """List folders whose date changed; return the names that were not there."""
        new: set[str] = set()
        for path, listing in list(self._folders.items()):
            try:
                date_ns = (self._folder / path).stat().st_mtime_ns
            except OSError:
                self._full_at = now  # it is gone, with all that was in it
                continue
            same = date_ns == listing.date_ns
            if now < listing.again_at or (same and now - listing.since > _FRESH_S):
                continue
            names, folders = self._list(path)
            new.update(name for name in names if name not in self.files)
            if any(folder not in self._folders for folder in folders):
                self._full_at = now
        return new

    def _list(self, path: str) -> tuple[list[str], list[str]]:
        """Return pictures and folders in one folder; links to folders are not followed."""
        if self._writes:
            self._writes.add(path)  # first, so that nothing comes in between unseen
        started, names, folders = self._clock(), [], []
        try:
            date_ns = (self._folder / path).stat().st_mtime_ns
            with os.scandir(self._folder / path) as entries:
                for entry in entries:
                    name = f"{path}/{entry.name}" if path else entry.name
                    if is_picture_name(entry.name):
                        names.append(name)
                    elif entry.is_dir(follow_symlinks=False) and not is_foreign(entry.name):
                        folders.append(name)
        except OSError:
            return [], []  # removed meanwhile, or not ours to read
        now, before = self._clock(), self._folders.get(path)
        since = before.since if before and before.date_ns == date_ns else now
        again_at = now + _LISTING_SHARE * (now - started)
        self._folders[path] = _Listing(date_ns, since, again_at)
        return names, folders

    def _restamp(self, name: str) -> bool:
        """Look at one file again; return whether it is new or changed."""
        stamp = self._stamp(name)
        if stamp is None:
            if self.files.pop(name, None) and self._writes:
                self._writes.forget({name})
            return False
        changed = self.files.get(name) != stamp
        self.files[name] = stamp
        return changed

    def _stamp(self, name: str) -> FileStamp | None:
        """Return a file's stamp; None where it is gone, a folder, or a link to nothing."""
        path = self._folder / name
        try:
            found = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:  # a loop of links, for example: a part whose picture cannot be read
            try:
                found = path.lstat()
            except OSError:
                return None
        if stat.S_ISDIR(found.st_mode):
            return None
        regular = stat.S_ISREG(found.st_mode)
        return FileStamp(found.st_ctime_ns, found.st_mtime_ns, found.st_size, regular)


class WriteWatch:
    """What the kernel tells of a folder on a local file system."""

    def __init__(self, folder: Path, inotify: Any, flags: Any) -> None:  # noqa: ANN401  # no types
        self._folder = folder
        self._inotify = inotify
        self._flags = flags
        self._paths: dict[int, str] = {}
        self.open: set[str] = set()  # written and not closed since
        self.closed: set[str] = set()  # closed after they were written

    @classmethod
    def start(cls, folder: Path) -> "WriteWatch | None":
        """Watch a folder; None, and a log line, where that cannot be."""
        if kind := network_file_system(folder):
            cls._say_polled(folder, f"{kind} does not tell who writes")
            return None
        try:
            from inotify_simple import INotify, flags  # noqa: PLC0415  # Linux only

            inotify = INotify(nonblocking=True)
        except (OSError, ImportError) as error:
            cls._say_polled(folder, f"the kernel does not tell who writes ({error})")
            return None
        watch = cls(folder, inotify, flags)
        try:
            watch.add("")
        except OSError as error:
            watch.close()
            cls._say_polled(folder, f"the kernel does not tell who writes ({error})")
            return None
        return watch

    @staticmethod
    def _say_polled(folder: Path, why: str) -> None:
        why = f"{why}: a picture is whole once it has its end and has settled"
        _log.warning("folder.polled", extra={"folder": str(folder), "why": why})

    def add(self, path: str) -> None:
        """Watch a subfolder too; it may be watched already."""
        wanted = (
            self._flags.CREATE
            | self._flags.MODIFY
            | self._flags.ATTRIB
            | self._flags.CLOSE_WRITE
            | self._flags.MOVED_TO
            | self._flags.MOVED_FROM
            | self._flags.DELETE
            | self._flags.ONLYDIR
        )
        try:
            self._paths[self._inotify.add_watch(self._folder / path, wanted)] = path
        except OSError as error:
            if not path:
                raise
            _log.warning("folder.not_watched", extra={"folder": path, "why": str(error)})

    def read(self) -> set[str] | None:
        """Return the names that changed; None where every file must be looked at."""
        changed: set[str] | None = set()
        for event in self._inotify.read(timeout=0):
            if event.mask & (self._flags.Q_OVERFLOW | self._flags.ISDIR | self._flags.IGNORED):
                changed = None  # events were lost, or a whole folder came or went
                continue
            if not is_picture_name(event.name):
                continue
            path = self._paths.get(event.wd, "")
            name = f"{path}/{event.name}" if path else event.name
            self._note(name, event.mask)
            if changed is not None:
                changed.add(name)
        return changed

    def _note(self, name: str, mask: int) -> None:
        if mask & self._flags.MODIFY:
            self.open.add(name)
            self.closed.discard(name)
        elif mask & (self._flags.CLOSE_WRITE | self._flags.MOVED_TO):
            self.open.discard(name)
            self.closed.add(name)
        elif mask & (self._flags.DELETE | self._flags.MOVED_FROM):
            self.forget({name})

    def forget(self, names: set[str]) -> None:
        """Drop what is known of files that are gone, or dealt with."""
        self.open -= names
        self.closed -= names

    def close(self) -> None:
        """Stop watching."""
        self._inotify.close()


def network_file_system(folder: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str:
    """Return the kind of network file system that a folder lies on; "" on a local one."""
    where, kind = folder.resolve(), ""
    longest = -1
    try:
        lines = mounts.read_text("utf-8", "surrogateescape").splitlines()
    except OSError:
        return ""
    for line in lines:
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split(" ")[4].replace("\\040", " "))
        if where.is_relative_to(point) and len(point.parts) >= longest:
            longest, kind = len(point.parts), rest.split(" ")[0]
    return kind if kind.startswith(_NETWORK) else ""
