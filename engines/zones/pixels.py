"""Zones of one camera as pixels of its frames, and the score of a map within them."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.engine import Floats
from engines.errors import ZoneError
from engines.zones.schema import Zone, ZoneSet

_HALF = 0.5  # share of a pixel that a zone must cover
_FINER, _MOST_FINE_SIDE = 8, 4096  # times the frame's size, and pixels, that polygons are drawn at
_FRACTION_BITS = 8  # of the corners given to OpenCV
_LABEL_NONE = -1


@dataclass(frozen=True, slots=True)
class ZoneScore:
    """The score of a map within the zones."""

    score: float  # highest map value / factor over the inspected pixels
    zone: str  # the zone of that pixel; "" if no named zone covers it
    has_mask: bool  # whether an inspected pixel is above its pixel threshold


@dataclass(frozen=True, slots=True)
class ZonePixels:
    """The zones of one camera at one frame size. Precedence is applied, pixel by pixel."""

    inspected: NDArray[np.bool_]  # [H, W]
    gain: Floats  # [H, W], 1 / factor of the image threshold; 0 where ignored
    pixel_factor: Floats  # [H, W], of the pixel threshold; infinite where ignored
    owner: NDArray[np.int16]  # [H, W], index into `names`; -1: of no zone
    names: tuple[str, ...]
    sha256: str  # of the zones

    def score(self, anomaly_map: Floats, pixel_threshold: float) -> ZoneScore:
        """Score a map, float32 [H, W]."""
        weighted = anomaly_map * self.gain
        place = int(weighted.argmax())
        marked = anomaly_map > self.pixel_limit(pixel_threshold)
        return ZoneScore(float(weighted.flat[place]), self._name(place), bool(marked.any()))

    def peaks(self, maps: Floats) -> Floats:
        """Return the score of each map, float32 [N, H, W] -> float32 [N]."""
        scores = [(anomaly_map * self.gain).max() for anomaly_map in maps]
        return np.array(scores, np.float32)

    def pixel_limit(self, pixel_threshold: float) -> Floats:
        """Return the pixel threshold of each pixel, float32 [H, W]."""
        return self.pixel_factor * np.float32(pixel_threshold)

    def zone_at(self, row: int, column: int) -> str:
        """Return the name of the zone that judges a pixel; "" for none."""
        return self._name(row * self.owner.shape[1] + column)

    def without_ignored(self, maps: Floats) -> Floats:
        """Copy maps, float32 [N, H, W], with 0 where pixels are ignored."""
        return np.asarray(np.where(self.inspected, maps, np.float32(0)), np.float32)

    def _name(self, place: int) -> str:
        index = int(self.owner.flat[place])
        return "" if index == _LABEL_NONE else self.names[index]


def zone_pixels(zones: ZoneSet, camera: str, size: tuple[int, int]) -> ZonePixels:
    """Draw the zones of a camera at a frame size (height, width).

    Raises:
        ZoneError: a zone covers no pixel, or nothing is left to inspect.
    """
    chosen = zones.of_camera(camera)
    covered = [covered_pixels(zone, zones.size, size) for zone in chosen]
    kinds = [zone.kind for zone in chosen]
    ignoring = [at for at, kind in enumerate(kinds) if kind == "ignore"]
    inspecting = [at for at, kind in enumerate(kinds) if kind == "inspect"]
    inspected = ~_union([covered[at] for at in ignoring], size)
    if inspecting:
        inspected &= _union([covered[at] for at in inspecting], size)
    if not inspected.any():
        of = f" of camera {camera!r}" if camera else ""
        raise ZoneError(
            f"the zones leave nothing{of} to inspect: every part would be OK; make an ignore zone "
            "smaller or an inspect zone larger"
        )
    image, owner = _factors(chosen, covered, inspecting, "image_factor", size)
    pixel, _ = _factors(chosen, covered, inspecting, "pixel_factor", size)
    owner[~inspected] = _LABEL_NONE
    return ZonePixels(
        inspected,
        np.where(inspected, 1 / image, np.float32(0)).astype(np.float32),
        np.where(inspected, pixel, np.float32(np.inf)).astype(np.float32),
        owner,
        tuple(zone.name for zone in chosen),
        zones.sha256,
    )


def _factors(
    chosen: Sequence[Zone],
    covered: Sequence[NDArray[np.bool_]],
    inspecting: Sequence[int],
    field: str,
    size: tuple[int, int],
) -> tuple[Floats, NDArray[np.int16]]:
    """Return each pixel's factor, the lowest of its zones or 1, and the zone that sets it."""
    factor, owner = np.ones(size, np.float32), np.full(size, _LABEL_NONE, np.int16)
    own = {at: getattr(chosen[at], field) for at in inspecting}
    for at in reversed([at for at in inspecting if own[at] is None]):
        owner[covered[at]] = at
    falling = sorted((at for at in inspecting if own[at] is not None), key=lambda at: -own[at])
    for at in falling:
        factor[covered[at]], owner[covered[at]] = own[at], at
    return factor, owner


def _union(masks: Sequence[NDArray[np.bool_]], size: tuple[int, int]) -> NDArray[np.bool_]:
    return np.asarray(np.logical_or.reduce([np.zeros(size, np.bool_), *masks]), np.bool_)


def covered_pixels(
    zone: Zone, drawn_on: tuple[int, int] | None, size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return the pixels of a zone, bool [H, W]."""
    if zone.mask is None and not zone.points:
        return np.ones(size, np.bool_)
    fine = _filled(zone, drawn_on or (1, 1), size) if zone.mask is None else zone.mask.pixels()
    share = cv2.resize(fine.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_AREA)
    covered = np.asarray(share >= _HALF)
    if not covered.any():
        raise ZoneError(
            f"zone {zone.name!r} covers no pixel of a frame of {size[0]}x{size[1]}: make it larger"
        )
    return covered


def _filled(zone: Zone, drawn_on: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a polygon at several times the frame's size, to measure shares of pixels."""
    finer = max(1, min(_FINER, _MOST_FINE_SIDE // max(size)))
    height, width = size[0] * finer, size[1] * finer
    scale = np.array([width / drawn_on[1], height / drawn_on[0]])
    corners = np.asarray(zone.points) * scale - _HALF  # the middle of the first pixel is 0
    fixed = np.round(corners * (1 << _FRACTION_BITS)).astype(np.int32)
    canvas = np.zeros((height, width), np.uint8)
    cv2.fillPoly(canvas, [fixed], 1, shift=_FRACTION_BITS)
    return canvas.astype(np.bool_)
