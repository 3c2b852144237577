"""Extended anomalies (EA): seen ones cut out, varied and pasted into normal pictures.

Some are shown raw: varied so little that picture and mask stay true.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.augment import Matrix, apply_tones, bend_field, place, warp
from trainer.anomalies.blend import Anomaly, Box, Mask, Pixels, changed_pixels, paste, shown_enough
from trainer.anomalies.regions import LEAST_PIXELS, DefectRegion, middle, tone_around

MOST_BETA = 0.7  # opacity of the normal picture under an extended anomaly
_TRIES = 4
_REGIONS_P = (0.65, 0.25, 0.1)  # of one, two, three regions in a picture
_OPAQUE_SHARE = 0.5
_ROUGH = 5.0  # grey levels of roughness that halve the transparency: thin cracks would drown
_ABOUT_MIDDLE_SHARE = 0.5  # of regions of freely turning objects: turned with the whole part
_IN_PLACE_SHARE = 0.4  # of the others: near their old place
_BENT_SHARE = 0.3
_MATCHED_SHARE = 0.85  # the tone of its surroundings is matched to the new ones
_MOST_SHIFT = 40.0  # grey levels of this matching
_KEPT_LEVEL = 90  # of a warped mask in 0..255: below one half, so that thin lines stay whole
_PADDING = 4  # pixels around the box of a region
_HOLES = 15  # pixels: unchanged gaps of a region up to so wide are part of it
_SHIFT = 0.01  # of the side
_TURN_DEG = 2.0
_ZOOM = 0.02
_LEVELS = np.arange(256, dtype=np.float64)[:, None]
_HALF = 127


@dataclass(frozen=True, slots=True)
class Freedom:
    """How a seen anomaly may be varied and still be one that the line could see."""

    turns: bool  # in any direction; else by small angles only
    roughness: float  # of the normal pictures, grey levels
    transparent: bool  # the normal picture may shine through
    scale: tuple[float, float] = (0.7, 1.4)
    small_deg: float = 15.0


def extend(
    rng: np.random.Generator,
    base: Pixels,
    foreground: Mask | None,
    regions: tuple[DefectRegion, ...],
    freedom: Freedom,
) -> Anomaly:
    """Paste one to three varied regions into a normal picture.

    Args:
        rng: draws everything.
        base: uint8 [H, W, 3].
        foreground: bool [H, W], where the part is; None: everywhere.
        regions: of seen anomalies.
        freedom: how they may be varied.
    """
    frame, mask = base.copy(), np.zeros(base.shape[:2], np.bool_)
    for _ in range(1 + int(rng.choice(len(_REGIONS_P), p=_REGIONS_P))):
        for _ in range(_TRIES):
            region = regions[rng.integers(len(regions))]
            matrix = _draw_place(rng, region, foreground, mask.shape, freedom)
            box = _reach(region, matrix, mask.shape)
            if box is None:
                continue
            part = None if foreground is None else foreground[box]
            pasted, put = _pasted(rng, region, _within(matrix, box), frame[box], part, freedom)
            shown = changed_pixels(base[box], pasted, put, _HOLES) & put
            if shown_enough(shown, put, max(LEAST_PIXELS, region.pixels // 5)):
                frame[box] = pasted
                mask[box] |= shown
                break
    return Anomaly(frame, mask)


def _pasted(
    rng: np.random.Generator,
    region: DefectRegion,
    matrix: Matrix,
    frame: Pixels,
    part: Mask | None,
    freedom: Freedom,
) -> tuple[Pixels, Mask]:
    """Paste a region into the cut-out `frame`; gives the new pixels and where the region lies."""
    size = (frame.shape[1], frame.shape[0])
    layers = cv2.warpAffine(region.layers, matrix, size)
    source = cv2.warpAffine(region.picture, matrix, size, borderMode=cv2.BORDER_REFLECT_101)
    if rng.random() < _BENT_SHARE:
        strength = 0.015 * min(region.picture.shape[:2])
        across, down = bend_field(rng, (frame.shape[0], frame.shape[1]), strength)
        layers = cv2.remap(layers, across, down, cv2.INTER_LINEAR)
        source = cv2.remap(
            source, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
        )
    put, wide = layers[..., 0] > _KEPT_LEVEL, layers[..., 1] > _KEPT_LEVEL
    if part is not None and region.on_part:
        put, wide = put & part, wide & part
    source = _recoloured(rng, np.asarray(source, np.uint8), region, put, frame, part)
    pasted = paste(frame, source, wide | put, _draw_beta(rng, freedom), rng.uniform(0.6, 1.2))
    return pasted, np.asarray(put, np.bool_)


def _draw_beta(rng: np.random.Generator, freedom: Freedom) -> float:
    if not freedom.transparent or rng.random() < _OPAQUE_SHARE:
        return 0.0
    return float(rng.uniform(0, MOST_BETA / (1 + freedom.roughness / _ROUGH)))


def _draw_place(
    rng: np.random.Generator,
    region: DefectRegion,
    foreground: Mask | None,
    size: tuple[int, ...],
    freedom: Freedom,
) -> Matrix:
    """Draw where a region goes: turned about the part's middle, near its old place, anywhere."""
    angle = rng.uniform(-freedom.small_deg, freedom.small_deg)
    flip = rng.choice((-1, 1), 2)
    if freedom.turns:
        angle = 90 * rng.integers(4) + rng.uniform(-45, 45)
    scale = np.exp(rng.uniform(*np.log(freedom.scale)))
    zoom = (float(scale * flip[0]), float(scale * flip[1]))
    if foreground is not None and freedom.turns and rng.random() < _ABOUT_MIDDLE_SHARE:
        return place(region.pivot, middle(foreground), angle, zoom)
    if rng.random() < _IN_PLACE_SHARE:
        near = np.array(region.centre) + rng.uniform(-0.04, 0.04, 2) * size[::-1]
        return place(region.centre, (float(near[0]), float(near[1])), angle, zoom)
    return place(region.centre, _draw_point(rng, foreground, size), angle, zoom)


def _draw_point(
    rng: np.random.Generator, foreground: Mask | None, size: tuple[int, ...]
) -> tuple[float, float]:
    """Draw a point on the part, (x, y)."""
    points = (rng.random((64, 2)) * size).astype(int)
    if foreground is not None:
        on_part = points[foreground[points[:, 0], points[:, 1]]]
        points = on_part if len(on_part) else points
    return float(points[0, 1]), float(points[0, 0])


def _reach(region: DefectRegion, matrix: Matrix, size: tuple[int, ...]) -> Box | None:
    """Box of a picture of `size` that a moved region reaches; None where it lies outside."""
    left, top, width, height = region.box
    corners = np.array(
        [[left, left + width, left, left + width], [top, top, top + height, top + height], [1] * 4]
    )
    moved = matrix @ corners
    low = np.maximum(np.floor(moved.min(axis=1)).astype(int) - _PADDING, 0)
    high = np.minimum(np.ceil(moved.max(axis=1)).astype(int) + _PADDING, size[::-1])
    if (low >= high).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))


def _within(matrix: Matrix, box: Box) -> Matrix:
    """Move into the coordinates of a box."""
    inner = matrix.copy()
    inner[:, 2] -= (box[1].start, box[0].start)
    return inner


def _recoloured(
    rng: np.random.Generator,
    source: Pixels,
    region: DefectRegion,
    put: NDArray[np.bool_],
    frame: Pixels,
    part: Mask | None,
) -> Pixels:
    """Jitter contrast and brightness; mostly match the tone around the region to its new place."""
    shift = float(rng.uniform(-8, 8))
    inner = put.view(np.uint8)
    if region.tone is not None and rng.random() < _MATCHED_SHARE:
        tone = tone_around(frame, inner, part)
        if tone is not None:
            shift += float(np.clip(tone - region.tone, -_MOST_SHIFT, _MOST_SHIFT))
    levels = np.arange(256, dtype=np.float64)[:, None]
    average = np.array(cv2.mean(source, inner)[:3])
    table: NDArray[np.float64] = average + (levels - average) * rng.uniform(0.85, 1.15) + shift
    return apply_tones(source, table)


def vary_seen(rng: np.random.Generator, picture: Pixels, mask: Mask) -> Anomaly:
    """Shift, turn, scale and brighten a seen anomaly slightly.

    Args:
        rng: draws everything.
        picture: uint8 [H, W, 3].
        mask: bool [H, W].
    """
    height, width = mask.shape
    turn = rng.uniform(-_TURN_DEG, _TURN_DEG)
    matrix: Matrix = np.asarray(
        cv2.getRotationMatrix2D((width / 2, height / 2), turn, rng.uniform(1 - _ZOOM, 1 + _ZOOM))
    )
    matrix[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    moved = warp(255 * mask.astype(np.uint8), matrix, cv2.BORDER_CONSTANT)
    tones = np.repeat(_LEVELS * rng.uniform(0.95, 1.05) + rng.uniform(-4, 4), 3, axis=1)
    frame = apply_tones(warp(picture, matrix, cv2.BORDER_REFLECT_101), tones)
    return Anomaly(frame, np.asarray(moved > _HALF, np.bool_))
