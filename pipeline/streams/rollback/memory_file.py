"""A file in which a program keeps how far a line had come, beyond its own end."""

import json
import logging
import re
from pathlib import Path

from engines.files import write_atomic
from pipeline.errors import SettingsError
from pipeline.streams.rollback.marks import MOST_BYTES, Marks

_NAME = re.compile(r"[0-9a-f]{16}")
_log = logging.getLogger(__name__)


class MemoryFile:
    """The file of --books; one program at a time should use it."""

    def __init__(self, path: Path, line: str) -> None:
        self._path, self._line = path, line
        self._failed = False

    def read(self) -> tuple[str, Marks] | None:
        """Return under which name the marks are noted in Redis, and the marks; None at first.

        A damaged file is said aloud and counts as none: a camera must start all the same.

        Raises:
            SettingsError: it is of another line, or cannot be read.
        """
        try:
            with self._path.open("rb") as file:
                raw = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SettingsError(f"--books {self._path}: {error.strerror or error}") from error
        try:
            line, name, marks = _fields(raw)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            why = f"damaged ({error!r:.80}): what it remembered of the line is lost"
            _log.error("books.unreadable", extra={"file": str(self._path), "why": why})
            return None
        if line != self._line:
            raise SettingsError(
                f"--books {self._path} is of line {line!r:.80}, this is {self._line!r}: "
                "give each line and program a file of its own"
            )
        return name, marks

    def write(self, name: str, marks: Marks) -> None:
        """Write it whole; a disk that is full is said once, and the program goes on."""
        fields = {"line": self._line, "name": name, "marks": json.loads(marks.pack())}
        try:
            write_atomic(self._path, json.dumps(fields).encode())
        except OSError as error:
            if not self._failed:
                why = f"{error.strerror or error}: a rollback may stay unseen after a restart"
                _log.error("books.unwritable", extra={"file": str(self._path), "why": why})
            self._failed = True
        else:
            self._failed = False


def _fields(raw: bytes) -> tuple[str, str, Marks]:
    """Return the line, the name of the note, and the marks; raises many errors of foreign JSON."""
    fields = json.loads(raw)
    if not _NAME.fullmatch(fields["name"]):
        raise ValueError("no name of a note")
    return str(fields["line"]), fields["name"], Marks.from_fields(fields["marks"])
