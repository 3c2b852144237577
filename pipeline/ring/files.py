"""Frame rings as they lie in shared memory: whose camera lives, and which were left over.

A camera that ends with unanswered frames leaves its ring to its successor, and so does one that was
killed. A camera that never comes back leaves it for ever: someone must remove it.
"""

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engines.files import try_lock, unlock
from pipeline.ring.ring import RING_DIRECTORY, is_ring_name
from pipeline.ring.segment import count_waiting, directory_locked, read_geometry

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_DELETED = " (deleted)"  # what Linux appends to the path of a removed file
_BLOCK_BYTES = 512
_FREED_BYTES = 1 << 20  # of a ring whose memory was freed only its header remains


@dataclass(frozen=True, slots=True)
class RingFile:
    """A ring that lies there."""

    name: str
    size_bytes: int
    made_s: float  # since the epoch
    alive: bool  # whether a camera holds it
    waiting: int  # frames in it that no worker has released


def find_rings(directory: Path = RING_DIRECTORY) -> list[RingFile]:
    """List this user's rings by name; root sees everybody's."""
    if not directory.is_dir():
        return []
    with directory_locked(directory):
        return list(_rings(directory))


def remove_left_rings(
    directory: Path = RING_DIRECTORY, names: set[str] | None = None
) -> list[RingFile]:
    """Remove the rings that no camera holds, and list them; workers that have one open read on.

    Args:
        directory: where rings lie.
        names: of these rings only; None: of all.
    """
    if not directory.is_dir():
        return []
    with directory_locked(directory):  # no camera can take one over meanwhile
        left = [
            ring
            for ring in _rings(directory)
            if not ring.alive and (names is None or ring.name in names)
        ]
        for ring in left:
            (directory / ring.name).unlink()
        return left


@dataclass(frozen=True, slots=True)
class UnlinkedRing:
    """A ring without a name whose memory a process still holds."""

    name: str
    size_bytes: int  # of memory in use
    pids: tuple[int, ...]


def find_unlinked_rings(
    directory: Path = RING_DIRECTORY, processes: Path = Path("/proc")
) -> list[UnlinkedRing]:
    """List rings that are removed but still open in a process of this user; root sees all."""
    holders: dict[tuple[str, int, int], set[int]] = {}
    for process in processes.glob("[0-9]*"):
        with suppress(OSError):  # it ended meanwhile, or is another user's
            for link in (process / "fd").iterdir():
                with suppress(OSError):
                    path, gone, _ = str(link.readlink()).partition(_DELETED)
                    name = Path(path).name
                    if gone and Path(path).parent == directory and is_ring_name(name):
                        found = link.stat()
                        key = (name, found.st_ino, found.st_blocks * _BLOCK_BYTES)
                        holders.setdefault(key, set()).add(int(process.name))
    return [
        UnlinkedRing(name, size_bytes, tuple(sorted(pids)))
        for (name, _, size_bytes), pids in sorted(holders.items())
        if size_bytes > _FREED_BYTES
    ]


def _rings(directory: Path) -> Iterator[RingFile]:
    for path in sorted(directory.iterdir()):
        if is_ring_name(path.name) and path.is_file() and not path.is_symlink():
            with suppress(FileNotFoundError, PermissionError):  # closed meanwhile; another user's
                descriptor = os.open(path, _FLAGS)
                try:
                    yield from _ring(path.name, descriptor)
                finally:
                    os.close(descriptor)


def _ring(name: str, descriptor: int) -> Iterator[RingFile]:
    """Yield the ring, or nothing where the file is none."""
    if (geometry := read_geometry(descriptor)) is None:
        return
    status = os.fstat(descriptor)
    waiting = count_waiting(descriptor, geometry[0])
    yield RingFile(name, status.st_size, status.st_mtime, _is_held(descriptor), waiting)


def _is_held(descriptor: int) -> bool:
    """Return whether a camera has the lock that dies with it."""
    if not try_lock(descriptor, shared=True):
        return True
    unlock(descriptor)
    return False
