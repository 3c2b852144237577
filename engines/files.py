"""Read foreign files safely; write files atomically; hash and lock files.

A foreign file may be a FIFO, a device, a link to either, or grow without end. It is opened without
waiting, must be a regular file, and is read up to a limit. Links are followed, because pictures and
engines often lie behind one. A loop of links is an `OSError`.

Every lock of this project is acquired here, by `flock`: the kernel frees the locks of a killed
process. A lock belongs to an open file: it lasts until the last descriptor of that file is closed,
also if a child process inherited one.
"""

import errno
import hashlib
import json
import math
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from engines.errors import RegistryAway

_CHUNK_BYTES = 1 << 20
LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.02
_LOCKS_MISSING = "Windows has no lock that this needs: run it on Linux or macOS"
# Windows lacks the first three, and translates line ends without the last
_READ_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _READ_FLAGS |= getattr(os, _name, 0)
_NOT_REGULAR = "not a regular file but a folder, FIFO, socket or device"


def open_regular(path: Path) -> BinaryIO:
    """Open a foreign file for reading, without waiting for a writer as a FIFO would.

    Raises:
        OSError: absent, not readable, or not a regular file.
    """
    descriptor = os.open(path, _READ_FLAGS)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, _NOT_REGULAR, str(path))
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, limit: int) -> bytes:
    """Read a foreign file of at most `limit` bytes.

    Raises:
        OSError: absent, not readable, not a regular file, or larger (`EFBIG`).
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        content = b"" if size > limit else file.read(limit + 1)  # it may have grown meanwhile
    if size > limit or len(content) > limit:
        found = max(size, len(content))
        raise OSError(errno.EFBIG, f"file of {found} bytes, limit {limit}", str(path))
    return content


def parse_json(content: bytes) -> Any:  # noqa: ANN401  # whatever the document holds
    """Parse a foreign JSON document.

    Raises:
        ValueError: not JSON, not UTF-8, or nested too deeply.
    """
    try:
        return json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def file_sha256(path: Path) -> str:
    """Return the hash of a file, read in chunks, as hex.

    Raises:
        OSError: absent, not readable, or not a regular file.
    """
    digest = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes, *, private: bool = False) -> None:
    """Write a file atomically, even if the power fails; only its owner may read a private one.

    It is written under another name in the same folder, synchronised and renamed, then the folder
    is synchronised.
    """
    # not tempfile's mode, which no other user could read: worker and trainer are often two users
    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        opener = partial(os.open, mode=0o600) if private else None
        with open(half, "xb", opener=opener) as file:  # Path.open has no opener
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in a folder survive a power cut; not possible or needed on Windows."""
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:  # a folder that may be written but not listed
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems have no such call
            raise
    finally:
        os.close(descriptor)


@contextmanager
def file_locked(path: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock on the file `path`, which is created and kept; a killed holder frees it.

    Raises:
        RegistryAway: another process held it all the time.
        OSError: there is no such lock (Windows).
    """
    with ExitStack() as held:
        try:
            held.enter_context(locked(path, wait_s))
        except BlockingIOError as error:
            raise RegistryAway(
                f"{error}: try again, or find the process with `fuser {path}`"
            ) from error
        yield


@contextmanager
def locked(path: Path, wait_s: float = math.inf) -> Iterator[None]:
    """Hold the lock on a folder, or on a file that is created and kept.

    Args:
        path: an existing folder, or a file in one.
        wait_s: how long to wait for another holder, seconds.

    Raises:
        BlockingIOError: another process held it all the time.
        OSError: it cannot be opened, or there is no such lock (Windows).
    """
    descriptor = _open_lock(path)
    try:
        _wait_for(descriptor, path, wait_s)
        yield
    finally:
        os.close(descriptor)


def try_lock(descriptor: int, *, shared: bool = False) -> bool:
    """Try to lock an open file; return False if another open file holds the lock.

    Args:
        descriptor: the open file's; a lock that it already has is converted.
        shared: whether others may hold a shared lock beside this one.

    Raises:
        OSError: there is no such lock (Windows).
    """
    try:
        _flock(descriptor, "LOCK_SH" if shared else "LOCK_EX", "LOCK_NB")
    except BlockingIOError:
        return False
    return True


def wait_for_lock(descriptor: int, *, shared: bool = False) -> None:
    """Lock an open file, waiting until no other open file holds the lock.

    Raises:
        OSError: there is no such lock (Windows).
    """
    _flock(descriptor, "LOCK_SH" if shared else "LOCK_EX")


def unlock(descriptor: int) -> None:
    """Free the lock of an open file, for every process that shares it."""
    _flock(descriptor, "LOCK_UN")


def _flock(descriptor: int, *operations: str) -> None:
    if sys.platform == "win32":
        raise OSError(errno.ENOSYS, _LOCKS_MISSING)
    import fcntl  # noqa: PLC0415  # not on Windows

    fcntl.flock(descriptor, sum(getattr(fcntl, each) for each in operations))


def _wait_for(descriptor: int, path: Path, wait_s: float) -> None:
    if math.isinf(wait_s):
        wait_for_lock(descriptor)
        return
    deadline_s = time.monotonic() + wait_s
    while not try_lock(descriptor):
        if time.monotonic() > deadline_s:
            raise BlockingIOError(f"another process has held {path} for {wait_s:.0f} s")
        time.sleep(_LOCK_POLL_S)


def _open_lock(path: Path) -> int:
    if sys.platform == "win32":  # which opens no folder either
        raise OSError(errno.ENOSYS, _LOCKS_MISSING, str(path))
    flags = os.O_CLOEXEC
    if path.is_dir():
        return os.open(path, os.O_RDONLY | flags)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | flags, 0o666)
    except PermissionError:
        # a file of another user in the same group; only locks over NFS need write access
        return os.open(path, os.O_RDONLY | flags)
