"""A registry at an fsspec URL: `s3://bucket/registry`, `gs://`, `abfs://`, `sftp://`.

On object stores an upload is atomic, which is all that the registry needs. There are no locks: of
two simultaneous promotions the later wins, and the earlier may be missing in the history. On other
stores a file appears bit by bit (`sftp://`, `smb://`), so a killed writer can leave half of
`promoted.json`, which is refused. Mount such a share and name its folder instead.
"""

import hashlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import fsspec

from engines.errors import RegistryAway, RegistryError

_CHUNK_BYTES = 1 << 20


class RemoteStore:
    """The file system of a URL."""

    def __init__(self, url: str) -> None:
        """Create the client without contacting the server.

        Raises:
            RegistryError: the file system is unknown or not installed, or the URL has options or
                secrets in it.
        """
        self._url = url.rstrip("/")
        self._files = _file_system(self._url)
        self._root = str(self._files._strip_protocol(self._url)).rstrip("/")  # noqa: SLF001  # fsspec offers no other name for it

    def begin(self) -> None:
        """Do nothing: folders, if there are any, are created with the first file."""

    def names(self, folder: str) -> list[str]:
        """Return the names in `folder`."""
        with self._translated():
            try:
                found = self._files.ls(self._path(folder), detail=False)
            except FileNotFoundError:
                return []
            return sorted({str(path).rstrip("/").rpartition("/")[2] for path in found})

    def size(self, path: str) -> int | None:
        """Return a file's bytes."""
        with self._translated():
            try:
                return int(self._files.size(self._path(path)))
            except FileNotFoundError:
                return None

    def digest(self, path: str) -> str | None:
        """Hash a file's content while it is read."""
        digest = hashlib.sha256()
        with self._translated():
            try:
                with self._files.open(self._path(path), "rb") as file:
                    while chunk := file.read(_CHUNK_BYTES):
                        digest.update(chunk)
            except FileNotFoundError:
                return None
        return digest.hexdigest()

    def read(self, path: str, limit: int) -> bytes | None:
        """Read at most `limit` bytes."""
        with self._translated():
            try:
                with self._files.open(self._path(path), "rb") as file:
                    return bytes(file.read(limit))
            except FileNotFoundError:
                return None

    def write(self, path: str, content: bytes) -> None:
        """Write an object."""
        target = self._path(path)
        with self._translated():
            try:
                self._files.pipe_file(target, content)
            except FileNotFoundError:
                self._make_folders(path)
                self._files.pipe_file(target, content)

    def upload(self, source: Path, path: str) -> None:
        """Upload a file, in parts if it is large."""
        target = self._path(path)
        with self._translated():
            try:
                self._files.put_file(str(source), target)
            except FileNotFoundError:
                self._make_folders(path)
                self._files.put_file(str(source), target)

    def download(self, path: str, target: Path) -> None:
        """Download a file."""
        with self._translated():
            self._files.get_file(self._path(path), str(target))

    def locked(self, name: str) -> AbstractContextManager[None]:
        """Do nothing: object stores have no locks."""
        del name
        return nullcontext()

    def _path(self, path: str) -> str:
        self._files.invalidate_cache()  # another program may have written since
        return f"{self._root}/{path}"

    def _make_folders(self, path: str) -> None:
        # one level at a time, and not above the root: a mistyped bucket is not created
        folder = self._root
        for part in ("", *path.split("/")[:-1]):
            folder = f"{folder}/{part}" if part else folder
            with suppress(FileExistsError):
                self._files.mkdir(folder, create_parents=False)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # each file system of fsspec has errors of its own
            raise RegistryAway(
                f"the registry {self._url} cannot be used now: {type(error).__name__}: {error}; "
                "see that it can be reached, then look with engine-registry list and try again"
            ) from error


def _file_system(url: str) -> Any:  # noqa: ANN401  # fsspec has no types
    try:
        parts = urlsplit(url)
    except ValueError as error:  # the rest of the URL may hold a secret: it is not shown
        raise RegistryError(
            f"the registry {url.partition('://')[0]}://...: {error}: use a folder or a URL"
        ) from error
    if parts.query:
        raise RegistryError(
            f"the registry {parts.scheme}://{parts.hostname}/... has options behind a '?', where "
            f"others can read them: set FSSPEC_{parts.scheme.upper()}_..., or what your "
            "store's own client reads"
        )
    if "::" in url:
        raise RegistryError(
            f"the registry {url.partition('::')[0]}::... is a chain: a cache would show an old "
            "pointer; name the store itself"
        )
    if parts.password is not None:
        raise RegistryError(
            f"the registry {parts.scheme}://{parts.hostname}/... has a password in its URL: set "
            f"FSSPEC_{parts.scheme.upper()}_PASSWORD, or what your store's own client reads"
        )
    try:
        files, _ = fsspec.url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        raise RegistryError(f"the registry {url}: {error}") from error
    except Exception as error:
        raise RegistryError(f"the registry {url}: {error}: use a folder or a URL") from error
    return files
