"""The named groups of a store's pictures, kept beside the files so that they outlive the index.

`groups.jsonl` has a line for each statement, {"sha": ..., "group": ...}; of several for a picture
the last one counts. A line is on the disk before the index says the same. What a kill cut off is
no whole line, and is dropped.
"""

import errno
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from engines.files import parse_json
from trainer.errors import StoreError
from trainer.samples.files import cannot_write, write_file

JOURNAL_NAME = "groups.jsonl"
MAX_JOURNAL_BYTES = 256 << 20


class GroupJournal:
    """The file of one store."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / JOURNAL_NAME

    def read(self) -> dict[str, str]:
        """Return the group of each picture that was ever in one, by the picture's hash.

        Raises:
            StoreError: unreadable, or too large.
        """
        try:
            if self._path.stat().st_size > MAX_JOURNAL_BYTES:
                raise StoreError(f"{self._path} is larger than {MAX_JOURNAL_BYTES} bytes")
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror or error}") from error
        groups: dict[str, str] = {}
        for line in content.splitlines():
            with suppress(ValueError, KeyError, TypeError):
                statement = parse_json(line)
                groups[str(statement["sha"])] = str(statement["group"])
        return groups

    def add(self, sha: str, group: str) -> None:
        """Append a statement, to outlive a power cut.

        Raises:
            StoreError: the disk is full, or not ours to write.
        """
        try:
            handle = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                line = _line(sha, group)
                if os.write(handle, line) < len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def match(self, index: Mapping[str, str], known: set[str]) -> None:
        """Make the file say what the index says of the pictures that the index knows.

        Args:
            index: the group of each picture that has one there.
            known: hashes of all pictures of the index.

        Raises:
            StoreError: the disk is full, or not ours to write.
        """
        before = self.read()
        after = {sha: group for sha, group in before.items() if sha not in known} | dict(index)
        if after != before or not self._is_whole():
            write_file(self._path, b"".join(_line(*each) for each in sorted(after.items())))

    def _is_whole(self) -> bool:
        """Return whether the last line has its end, so that another one may follow."""
        try:
            with self._path.open("rb") as file:
                if not file.seek(0, os.SEEK_END):
                    return True
                file.seek(-1, os.SEEK_END)
                return file.read() == b"\n"
        except FileNotFoundError:
            return True


def _line(sha: str, group: str) -> bytes:
    return json.dumps({"sha": sha, "group": group}).encode() + b"\n"
