"""The Source protocol, which supplies pictures to `pipeline-camera`; part ids from file names."""

import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.wire import MAX_NAME_CHARS

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture as a source gives it, full size."""

    pixels: NDArray[np.uint8]  # [H, W, 3], RGB
    captured_ns: int  # UTC, nanoseconds since the epoch
    part_id: str  # "" where the source knows none: the camera makes one of its name and seq
    cursor: str  # where to go on after this shot if the camera process is killed; "" for live ones
    unreadable: str = ""  # why there is no picture (pixels are then black): the part still exists
    missed: int = (
        0  # triggers just before this one that gave no shot, where the device numbers them
    )
    # when it was captured by the monotonic clock, seconds: its age does not depend on the wall
    # clock, which may be stepped between the capture and the offer
    captured_s: float = field(default_factory=time.monotonic)


def unreadable_shot(
    reason: str,
    captured_ns: int,
    part_id: str = "",
    cursor: str = "",
    *,
    captured_s: float | None = None,
) -> Shot:
    """Make the shot of a part whose picture cannot be read: it still gets its verdict.

    Without `captured_s` it was captured just now.
    """
    pixels = np.zeros((1, 1, 3), np.uint8)
    at_s = time.monotonic() if captured_s is None else captured_s
    return Shot(pixels, captured_ns, part_id, cursor, reason, captured_s=at_s)


class FixedSize:
    """The size of a camera's pictures, which `--roi` and `--mm-per-pixel` rest on."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._wanted: tuple[int, ...] | None = None  # of the first picture, (height, width)
        self._changed = False

    def check(self, shot: Shot) -> Shot:
        """Return the shot, unreadable where its size is not the first picture's."""
        if shot.unreadable:
            return shot
        size = shot.pixels.shape[:2]
        self._wanted = self._wanted or size
        if changed := size != self._wanted:
            found, wanted = (f"{height}x{width}" for height, width in (size, self._wanted))
            why = (
                f"{self._name} sends {found} instead of {wanted} (height x width): set it back, or "
                "check --roi and --mm-per-pixel and start the camera process again"
            )
            if not self._changed:
                _log.error("camera.size_changed", extra={"why": why})
            shot = replace(shot, pixels=np.zeros((1, 1, 3), np.uint8), unreadable=why)
        self._changed = changed
        return shot


class Source(Protocol):
    """A source of shots, in order."""

    @property
    def live(self) -> bool:
        """Return whether parts pass at their own pace: a full line then sheds frames."""
        ...

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Yield every shot after `cursor` ("" from the start), until the source ends.

        Raises:
            CameraLost: no picture came; the caller waits and calls again.
        """
        ...

    def close(self) -> None:
        """Release the device or file."""
        ...


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
        """Return the part id in a relative file name; "" where the name holds none."""
        found = self._pattern.search(name) if self._pattern else None
        if found is None:
            return ""
        if "part" in found.groupdict():
            part = found["part"]
        else:
            part = found[1] if found.re.groups else found[0]
        text = (part or "").encode(errors="replace").decode()  # a file's name may be no text
        return text[:MAX_NAME_CHARS]
