"""One process at a time in a folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.files import try_lock

_NAME = ".lock"


@contextmanager
def folder_locked(folder: Path, busy: Callable[[str], Exception]) -> Iterator[None]:
    """Hold a folder while the context lasts; the kernel lets go of a killed process's lock.

    Args:
        folder: gets the file `.lock`, which holds the number of the process.
        busy: makes what is raised where another process, given by its number, holds it.
    """
    handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        if not try_lock(handle):
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise busy(holder)
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
