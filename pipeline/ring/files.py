"""Frame rings as they lie in shared memory: whose camera lives, and which were left over.

A camera that ends with unanswered frames leaves its ring to its successor, and so does one that was
killed. A camera that never comes back leaves it for ever: someone must remove it.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.ring.ring import RING_DIRECTORY, is_ring_name
from pipeline.ring.segment import count_waiting, directory_locked, read_geometry

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW


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


def remove_left_rings(directory: Path = RING_DIRECTORY) -> list[RingFile]:
    """Remove every ring that no camera holds, and list them; workers that map one read on."""
    if not directory.is_dir():
        return []
    with directory_locked(directory):  # no camera can take one over meanwhile
        left = [ring for ring in _rings(directory) if not ring.alive]
        for ring in left:
            (directory / ring.name).unlink()
        return left


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
    """Give the ring, or nothing where the file is none."""
    if (geometry := read_geometry(descriptor)) is None:
        return
    status = os.fstat(descriptor)
    waiting = count_waiting(descriptor, geometry[0])
    yield RingFile(name, status.st_size, status.st_mtime, _is_held(descriptor), waiting)


def _is_held(descriptor: int) -> bool:
    """Say whether a camera has the lock that dies with it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False
