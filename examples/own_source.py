"""A camera of your own: `--source belt:SEED` shows a bright square that moves along a belt."""

from collections.abc import Callable, Iterator

import numpy as np

from pipeline.camera.open import SourceOptions
from pipeline.camera.pace import FramePacer, Wait
from pipeline.camera.source import Shot
from pipeline.errors import SettingsError

SQUARE = 16  # pixels a side


class BeltSource:
    """Draws parts; a camera would be asked here, and raise CameraLost when it is away."""

    live = False  # True: parts pass whether or not anyone looks, and a full line sheds

    def __init__(
        self, seed: int, options: SourceOptions, pacer: FramePacer, clock_ns: Callable[[], int]
    ) -> None:
        self._seed, self._options, self._pacer, self._clock_ns = seed, options, pacer, clock_ns

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Yield every shot after `cursor`, which is the number of the last one."""
        number = int(cursor or 0)
        while self._options.count is None or number < self._options.count:
            if self._pacer.stopped():
                return  # the camera process is stopping
            number += 1
            yield Shot(self._pixels(number), self._clock_ns(), f"belt-{number}", str(number))

    def close(self) -> None:
        """Release the device."""

    def _pixels(self, number: int) -> np.ndarray:
        height, width = self._options.size
        pixels = np.full((height, width, 3), 40, np.uint8)  # [H, W, 3], RGB
        left = (number * 7 + self._seed) % (width - SQUARE)
        pixels[8 : 8 + SQUARE, left : left + SQUARE] = 230
        return pixels


def open_belt(
    rest: str,
    options: SourceOptions,
    wait: Wait,
    clock: Callable[[], float],
    clock_ns: Callable[[], int],
) -> BeltSource:
    """Open `belt:SEED`; called with what stands after the colon."""
    if not rest.isdecimal():
        raise SettingsError(f"belt:{rest}: a whole number is needed, like belt:7")
    return BeltSource(int(rest), options, FramePacer(options.rate, clock, wait), clock_ns)
