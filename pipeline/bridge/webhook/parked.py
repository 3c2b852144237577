"""Reports that a receiver refuses for good, one JSON line each, for a person to look at."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_CHUNK = 1 << 16


class ParkedFile:
    """A file of JSON lines with an upper bound; each line is on disk when `add` returns."""

    def __init__(self, path: Path, most: int) -> None:
        """Open it; what a crash left of an unfinished line is cut off.

        Raises:
            OSError: the file cannot be written.
        """
        self._path = path
        self._most = most
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._cut_unfinished()
        except BaseException:
            self.close()
            raise

    def _cut_unfinished(self) -> None:
        end = 0
        self.lines = 0
        at = 0
        while chunk := os.pread(self._descriptor, _CHUNK, at):
            self.lines += chunk.count(b"\n")
            if (last := chunk.rfind(b"\n")) >= 0:
                end = at + last + 1
            at += len(chunk)
        if at != end:
            os.ftruncate(self._descriptor, end)

    @property
    def is_full(self) -> bool:
        """Return whether it takes no more lines, until somebody empties it."""
        if self.lines >= self._most and os.fstat(self._descriptor).st_size == 0:
            self.lines = 0  # emptied in place
        return self.lines >= self._most

    def add(self, fields: Mapping[str, Any]) -> None:
        """Append one line.

        Raises:
            OSError: the disk is full; nothing of the line stays.
        """
        size = os.fstat(self._descriptor).st_size
        line = json.dumps(fields).encode() + b"\n"
        try:
            written = os.write(self._descriptor, line)
            os.fsync(self._descriptor)
        except OSError:
            os.ftruncate(self._descriptor, size)
            raise
        if written < len(line):
            os.ftruncate(self._descriptor, size)
            raise OSError(f"{self._path}: the disk took {written} of {len(line)} bytes")
        self.lines += 1

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)
