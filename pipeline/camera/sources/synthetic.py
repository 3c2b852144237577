"""Drawn parts, the same for the same seed. A cursor is the index of the part."""

import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.camera.pace import FramePacer
from pipeline.camera.source import Shot
from pipeline.errors import SettingsError
from pipeline.product.product import DEFECTS, PartType, draw_part

_PART = PartType.WASHER
_DEFECT_SHARE = 0.2


class SyntheticSource:
    """Draws washer after washer; one in five has a defect."""

    def __init__(
        self,
        seed: int,
        pacer: FramePacer,
        clock_ns: Callable[[], int],
        size: tuple[int, int] = (256, 256),
        count: int | None = None,
        live: bool = False,  # noqa: FBT001, FBT002  # a property of the source, not a choice of path
        variety: int | None = None,
    ) -> None:
        """Make a source.

        Args:
            seed: of everything drawn.
            pacer: when the next shot is due.
            clock_ns: UTC; a shot is captured when it is due.
            size: (height, width).
            count: how many parts; None: without end.
            live: whether parts pass whether or not anyone looks.
            variety: draw only so many and show them in turn: drawing costs milliseconds.
        """
        self.live = live
        self._seed = seed
        self._pacer = pacer
        self._clock_ns = clock_ns
        self._size = size
        self._count = count
        self._variety = variety
        self._drawn: dict[int, NDArray[np.uint8]] = {}

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Yield every part after `cursor`.

        Raises:
            SettingsError: the cursor is not of a synthetic source.
        """
        index = _parse_cursor(cursor)
        while self._count is None or index < self._count:
            if self._pacer.stopped():
                return
            at_ns, at_s = self._clock_ns(), time.monotonic()
            part_id = f"{self._seed}-{index:06d}"
            yield Shot(self._pixels(index), at_ns, part_id, str(index), captured_s=at_s)
            index += 1

    def _pixels(self, index: int) -> NDArray[np.uint8]:
        if self._variety is None:
            return self._draw(index)
        index %= self._variety
        if index not in self._drawn:
            pixels = self._draw(index)
            pixels.flags.writeable = False  # shown again and again
            self._drawn[index] = pixels
        return self._drawn[index]

    def _draw(self, index: int) -> NDArray[np.uint8]:
        rng = np.random.default_rng([self._seed, index])
        defects = DEFECTS[_PART]
        bad = rng.random() < _DEFECT_SHARE
        defect = defects[rng.integers(len(defects))] if bad else None
        return draw_part(rng, _PART, defect, self._size)[0]

    def close(self) -> None:
        """Nothing is held."""


def _parse_cursor(cursor: str) -> int:
    """Return the index of the first part to give."""
    if cursor and not cursor.isdecimal():
        raise SettingsError(
            f"cursor {cursor!r:.80} is not of a synthetic source: give the camera a new name"
        )
    return int(cursor) + 1 if cursor else 0
