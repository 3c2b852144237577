"""The Source protocol: what gives pictures to `pipeline-camera`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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


def unreadable_shot(reason: str, captured_ns: int, part_id: str = "", cursor: str = "") -> Shot:
    """Make the shot of a part whose picture cannot be read: it still gets its verdict."""
    return Shot(np.zeros((1, 1, 3), np.uint8), captured_ns, part_id, cursor, reason)


class Source(Protocol):
    """Gives shots in order."""

    @property
    def live(self) -> bool:
        """Whether parts pass whether or not anyone looks: a full line then sheds, not blocks."""
        ...

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Give every shot after `cursor` ("" from the start), until the source ends.

        Raises:
            CameraLost: no picture came; the caller waits and calls again.
        """
        ...

    def close(self) -> None:
        """Release the device or file."""
        ...
