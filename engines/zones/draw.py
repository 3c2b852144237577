"""Zones drawn over a picture, for people."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.zones.pixels import covered_pixels
from engines.zones.schema import ZoneSet

_INSPECT, _IGNORE, _INK = (40, 170, 255), (170, 170, 170), (0, 0, 0)
_SCALE = 0.4
_HATCH = 8  # pixels between two lines over what is ignored


def draw_zones(picture: NDArray[np.uint8], zones: ZoneSet, camera: str) -> None:
    """Outline and name the zones of a camera on uint8 [H, W, 3] RGB, in place.

    Raises:
        ZoneError: a zone covers no pixel of the picture.
    """
    size = (picture.shape[0], picture.shape[1])
    rows, columns = np.indices(size, sparse=True)
    for zone in zones.of_camera(camera):
        covered = covered_pixels(zone, zones.size, size)
        colour = _IGNORE if zone.kind == "ignore" else _INSPECT
        if zone.kind == "ignore":
            picture[covered & ((rows + columns) % _HATCH == 0)] = colour
        shape = covered.astype(np.uint8)
        contours, _ = cv2.findContours(shape, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colour, 1)
        left, top, _, _ = cv2.boundingRect(shape)
        factor = "" if zone.image_factor is None else f" x{zone.image_factor:g}"
        _write(picture, f"{zone.name}{factor}", (left + 3, min(top + 13, size[0] - 2)), colour)


def _write(
    picture: NDArray[np.uint8], text: str, place: tuple[int, int], colour: tuple[int, int, int]
) -> None:
    for ink, thickness in ((_INK, 3), (colour, 1)):
        cv2.putText(
            picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, _SCALE, ink, thickness, cv2.LINE_AA
        )
