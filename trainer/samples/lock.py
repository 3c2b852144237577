"""One writer of a sample store at a time."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import StoreBusy

_NAME = ".lock"


@contextmanager
def store_locked(folder: Path) -> Iterator[None]:
    """Hold the folder while the context lasts; the kernel lets go of a killed process's lock.

    Raises:
        StoreBusy: another process holds it.
    """
    handle = os.open(folder / _NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise StoreBusy(
                f"process {holder} is writing to the sample store {folder}: wait until it is done"
            ) from error
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
