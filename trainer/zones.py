"""Zones of a training: which pixels teach, calibrate and count in figures."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import ZoneError
from engines.zones.pixels import ZonePixels, zone_pixels
from engines.zones.read import read_zones
from engines.zones.schema import ZoneSet
from trainer.dataset import Pictures
from trainer.errors import DatasetError

_HALF = 0.5  # share of a patch that must be inspected


@dataclass(frozen=True, slots=True)
class PictureZones:
    """The zones of one camera at the input size of a network."""

    zones: ZoneSet
    pixels: ZonePixels
    camera: str

    @property
    def inspected(self) -> NDArray[np.bool_]:
        """Return which pixels count, [H, W]."""
        return self.pixels.inspected

    def patches(self, stride: int) -> NDArray[np.bool_]:
        """Return which patches of `stride` x `stride` pixels count, row by row, flat."""
        height, width = self.inspected.shape
        size = (width // stride, height // stride)
        share = cv2.resize(self.inspected.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        return np.asarray(share.ravel() >= _HALF)

    def check_fit(self, pictures: Pictures) -> None:
        """Refuse pictures of another size than the zones were drawn on.

        Raises:
            DatasetError: a picture has another size, or is turned.
        """
        for sample, shape in zip(pictures.samples, pictures.shapes, strict=True):
            self.check_shape(sample.name, shape)

    def check_shape(self, name: str, shape: tuple[int, int]) -> None:
        """Refuse one picture of another size (height, width) than the zones were drawn on.

        Raises:
            DatasetError: it has another size, or is turned.
        """
        drawn_on = self.zones.drawn_on
        if drawn_on is not None and drawn_on != shape:
            raise DatasetError(
                f"zones are drawn on pictures of {drawn_on[0]}x{drawn_on[1]} (height x width), "
                f"{name} has {shape[0]}x{shape[1]}: draw them on the stored pixels, or write "
                "points as 0..1"
            )


def open_zones(
    path: Path | None, camera: str, product: str, size: tuple[int, int]
) -> PictureZones | None:
    """Read the zones of a file for pictures of one camera; None without a file.

    Raises:
        ZoneError: they cannot be read, name other cameras, or leave nothing to inspect.
    """
    if path is None:
        if camera or product:
            raise ZoneError("--zones-camera and --zones-product need --zones: pass it too")
        return None
    return place_zones(read_zones(path, product), camera, size)


def place_zones(zones: ZoneSet, camera: str, size: tuple[int, int]) -> PictureZones:
    """Lay zones over pictures of a camera, `size` = (height, width).

    Raises:
        ZoneError: they name other cameras, or leave nothing to inspect.
    """
    named = ", ".join(sorted(zones.cameras))
    if named and not camera:
        raise ZoneError(f"zones name the cameras {named}: choose the camera with --zones-camera")
    if camera and camera not in zones.cameras:
        known = f"zones name {named}" if named else "they name none"
        raise ZoneError(f"no zone names camera {camera!r}: {known}")
    for other in sorted(zones.cameras):
        zone_pixels(zones, other, size)  # the line will need them: report their faults now
    return PictureZones(zones, zone_pixels(zones, camera, size), camera)
