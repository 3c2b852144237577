"""Where a registry keeps its files: a local folder, or a URL (remote_store)."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

from engines.errors import RegistryAway, RegistryError
from engines.files import (
    LOCK_WAIT_S,
    file_locked,
    file_sha256,
    open_regular,
    sync_folder,
    write_atomic,
)

COPY_BYTES = 1 << 20


class Store(Protocol):
    """Files by their path below the registry's root, `versions/NAME/version.json`.

    All methods raise RegistryAway if the store cannot answer now. Writers hold a lock.
    """

    def begin(self) -> None:
        """Create the root if it does not exist."""

    def names(self, folder: str) -> list[str]:
        """Return the names in `folder`; empty if it does not exist."""

    def size(self, path: str) -> int | None:
        """Return a file's bytes, or None if it does not exist."""

    def digest(self, path: str) -> str | None:
        """Return the SHA-256 of a file in hex, or None if it does not exist."""

    def read(self, path: str, limit: int) -> bytes | None:
        """Return at most `limit` bytes of a file, or None if it does not exist."""

    def write(self, path: str, content: bytes) -> None:
        """Write a file atomically; its folder is created."""

    def upload(self, source: Path, path: str) -> None:
        """Copy a local file into the store; its folder is created."""

    def download(self, path: str, target: Path) -> None:
        """Copy a file to `target`."""

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Hold the lock `name`, if the store has locks."""


class FolderStore:
    """A folder: every write is a rename, and the kernel frees locks when a holder dies."""

    def __init__(self, root: Path, lock_wait_s: float = LOCK_WAIT_S) -> None:
        self._root = root
        self._lock_wait_s = lock_wait_s

    def begin(self) -> None:
        """Create the root."""
        with _translated(self._root):
            self._root.mkdir(parents=True, exist_ok=True)

    def names(self, folder: str) -> list[str]:
        """Return the names in `folder`."""
        with _translated(self._root):
            try:
                return sorted(path.name for path in (self._root / folder).iterdir())
            except FileNotFoundError:
                return []

    def size(self, path: str) -> int | None:
        """Return a file's bytes."""
        with _translated(self._root):
            try:
                return (self._root / path).stat().st_size
            except FileNotFoundError:
                return None

    def digest(self, path: str) -> str | None:
        """Hash a file's content."""
        with _translated(self._root):
            try:
                return file_sha256(self._root / path)
            except FileNotFoundError:
                return None

    def read(self, path: str, limit: int) -> bytes | None:
        """Read at most `limit` bytes."""
        with _translated(self._root):
            try:
                with open_regular(self._root / path) as file:
                    return file.read(limit)
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Write a file by renaming it into place."""
        with _translated(self._root):
            target = self._made(path)
            write_atomic(target, content)

    def upload(self, source: Path, path: str) -> None:
        """Copy a file under another name, then rename it."""
        with _translated(self._root):
            target = self._made(path)
            copy_atomic(source, target)
            sync_folder(target.parent)

    def download(self, path: str, target: Path) -> None:
        """Copy a file."""
        with (
            _translated(self._root),
            open_regular(self._root / path) as file,
            target.open("wb") as copy,
        ):
            shutil.copyfileobj(file, copy, COPY_BYTES)

    @contextmanager
    def locked(self, name: str) -> Iterator[None]:
        """Hold the lock `name`."""
        with ExitStack() as held:
            with _translated(self._root):
                lock = self._root / f".{name}.lock"
                held.enter_context(file_locked(lock, self._lock_wait_s))
            yield

    def _made(self, path: str) -> Path:
        # never the root: it may be the mount point of a share that is gone now
        folder = self._root
        for part in path.split("/")[:-1]:
            folder /= part
            folder.mkdir(exist_ok=True)
        target = self._root / path
        clear_halves(target)
        return target


def clear_halves(target: Path) -> None:
    """Remove leftovers of killed writers of `target`: writers hold the lock, so none is active."""
    for half in target.parent.iterdir():
        if half.name.startswith(f".{target.name}."):
            half.unlink(missing_ok=True)


def copy_atomic(source: Path, target: Path) -> None:
    """Copy a file atomically."""
    half = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with open_regular(source) as file, half.open("xb") as copy:
            shutil.copyfileobj(file, copy, COPY_BYTES)
            copy.flush()
            os.fsync(copy.fileno())
        half.replace(target)
    except BaseException:
        half.unlink(missing_ok=True)
        raise


@contextmanager
def _translated(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RegistryAway(
            f"the registry {root} cannot be used now: {error.strerror or error} "
            f"({error.filename or root}): see that it is mounted, writable and not full, then try "
            "again"
        ) from error


def open_store(url: str) -> Store:
    """Return the store of a folder, `file://` or any other URL.

    Raises:
        RegistryError: the URL cannot hold a registry.
    """
    if not url.strip():
        raise RegistryError("the registry's name is empty: use a folder or a URL")
    if url.startswith("file://"):
        folder = Path(url.removeprefix("file://"))
        if not folder.is_absolute():
            raise RegistryError(
                f"the registry {url} is not an absolute path: write file:///... or only the folder"
            )
        return FolderStore(folder)
    if "://" not in url:
        return FolderStore(Path(url))
    from engines.registry.remote_store import RemoteStore  # noqa: PLC0415  # a folder needs no fsspec

    return RemoteStore(url)
