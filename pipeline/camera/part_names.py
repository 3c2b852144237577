"""Part ids out of file names."""

import re

from pipeline.errors import SettingsError
from pipeline.wire import MAX_NAME_CHARS


class PartNames:
    """Finds the part id in a file's name by a regular expression, where one is given."""

    def __init__(self, pattern: str | None) -> None:
        r"""Compile the pattern.

        Args:
            pattern: its group `part`, or else its first group, or else the whole match is the id:
                `serial_(\d+)` finds 4711 in `line1/serial_4711.png`.

        Raises:
            SettingsError: no regular expression.
        """
        try:
            self._pattern = None if pattern is None else re.compile(pattern)
        except re.error as error:
            raise SettingsError(f"part id pattern {pattern!r}: {error}") from error

    def find(self, name: str) -> str:
        """Give the part id in a relative file name; "" where the name holds none."""
        found = self._pattern.search(name) if self._pattern else None
        if found is None:
            return ""
        if "part" in found.groupdict():
            part = found["part"]
        else:
            part = found[1] if found.re.groups else found[0]
        text = (part or "").encode(errors="replace").decode()  # a file's name may be no text
        return text[:MAX_NAME_CHARS]
