"""Files written whole or not at all, hashed, and locked between processes."""

import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from engines.errors import RegistryAway

_CHUNK_BYTES = 1 << 20
LOCK_WAIT_S = 30.0
_LOCK_POLL_S = 0.02


def file_sha256(path: Path) -> str:
    """Hash a file in chunks; hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: temporary file in the same folder, fsync, rename."""
    # not tempfile's, which no other user could read: a worker is seldom the user who trained
    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with half.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


@contextmanager
def file_locked(path: Path, wait_s: float = LOCK_WAIT_S) -> Iterator[None]:
    """Hold the lock on the file `path`, which is made and stays; a killed holder frees it.

    Raises:
        RegistryAway: another process holds it all the time.
    """
    deadline_s = time.monotonic() + wait_s
    descriptor = _open_lock(path)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if time.monotonic() > deadline_s:
                    raise RegistryAway(
                        f"another process has held {path} for {wait_s:.0f} s: try again, or see "
                        f"with `fuser {path}` what it is"
                    ) from error
            time.sleep(_LOCK_POLL_S)
        yield
    finally:
        os.close(descriptor)


def _open_lock(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        # of another user in the same group; only locks over NFS need to write
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
