"""Full-size pictures -> what the engine takes: crop, resize, and the millimetres that follow."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from engines.pictures.read import resize_picture
from pipeline.errors import SettingsError, UnreadableFrame


@dataclass(frozen=True, slots=True)
class Roi:
    """The region of interest in the full-size picture, pixels."""

    top: int
    left: int
    height: int
    width: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `TOP,LEFT,HEIGHT,WIDTH`.

        Raises:
            SettingsError: not four whole numbers, or a region without pixels.
        """
        try:
            top, left, height, width = (int(number) for number in text.split(","))
        except ValueError as error:
            raise SettingsError(
                f"region of interest {text!r}: pixels TOP,LEFT,HEIGHT,WIDTH, like 0,200,1000,1200"
            ) from error
        if top < 0 or left < 0 or height < 1 or width < 1:
            raise SettingsError(f"region of interest {text!r} holds no pixels")
        return cls(top, left, height, width)


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a camera's pictures become frames."""

    size: tuple[int, int]  # (height, width) that the engine takes
    roi: Roi | None = None
    mm_per_pixel: tuple[float, float] | None = None  # (vertical, horizontal) of the full picture

    def prepare(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Crop and resize uint8 [H, W, 3]; the result is contiguous and may be `pixels` itself.

        Raises:
            UnreadableFrame: the region of interest is not inside the picture.
        """
        return np.ascontiguousarray(resize_picture(self._crop(pixels), self.size))

    def _crop(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        roi = self.roi
        if roi is None:
            return pixels
        height, width = pixels.shape[:2]
        if roi.top + roi.height > height or roi.left + roi.width > width:
            raise UnreadableFrame(
                f"region of interest {roi.top},{roi.left},{roi.height},{roi.width} is not inside "
                f"a picture of {height}x{width}: set --roi to the camera's size"
            )
        return pixels[roi.top : roi.top + roi.height, roi.left : roi.left + roi.width]

    def scale(self, shape: tuple[int, int]) -> tuple[float, float] | None:
        """Millimetres per pixel (vertical, horizontal) of the frame of a picture [H, W]."""
        if self.mm_per_pixel is None:
            return None
        height, width = (self.roi.height, self.roi.width) if self.roi else shape
        vertical, horizontal = self.mm_per_pixel
        return vertical * height / self.size[0], horizontal * width / self.size[1]

    def black(self) -> NDArray[np.uint8]:
        """Make the frame of a part whose picture cannot be read."""
        return np.zeros((*self.size, 3), np.uint8)
