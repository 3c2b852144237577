"""Extended anomalies (EA): seen ones cut out, varied and pasted into normal pictures."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.augment import Freedom, apply_tones, bend_field, draw_turn, place, warp
from trainer.blend import Anomaly, Mask, Pixels, changed_pixels, paste
from trainer.foreground import split_picture

MOST_BETA = 0.7  # opacity of the normal picture under an extended anomaly
LEAST_PIXELS = 8  # of a pasted region: seen anomalies may be small themselves
_TRIES = 6
_OPAQUE_SHARE = 0.5
_REGIONS_P = (0.65, 0.25, 0.1)  # of one, two, three regions in a picture
_INSIDE = 0.9  # share of a region on the part from which on it stays on parts
_BENT_SHARE = 0.3
_MATCHED_SHARE = 0.7  # pasted with the tone of its surroundings matched to the new ones
_PIECES_MOST = 6
_KEPT_LEVEL = 90  # of a warped mask in 0..255: below one half, so that thin lines stay whole
_RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
_MARGIN = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


@dataclass(frozen=True, slots=True)
class Region:
    """A seen anomaly, or one connected piece of it, in its own picture."""

    picture: Pixels  # [H, W, 3], borrowed
    mask: Pixels  # [H, W], 0 or 255
    centre: tuple[float, float]  # of its bounding box, (x, y)
    pivot: tuple[float, float]  # middle of the part in its picture, (x, y)
    on_part: bool  # lies on the part, so it stays on parts


def find_regions(
    seen: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    objects: bool,  # noqa: FBT001
) -> tuple[Region, ...]:
    """Cut seen anomalies into regions: each whole, and piece by piece where it has a few.

    Args:
        seen: uint8 [S, H, W, 3].
        masks: bool [S, H, W].
        objects: the pictures show parts on a background.
    """
    regions: list[Region] = []
    for picture, mask in zip(seen, masks, strict=True):
        if not mask.any():
            continue
        part = split_picture(picture).mask if objects else np.ones(mask.shape, np.bool_)
        regions.append(_region(picture, mask, part))
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        if 2 < count <= 1 + _PIECES_MOST:  # noqa: PLR2004  # more than one piece
            pieces = (labels == label for label in range(1, count))
            regions += [_region(picture, p, part) for p in pieces if p.sum() >= LEAST_PIXELS]
    return tuple(regions)


def extend(
    rng: np.random.Generator,
    base: Pixels,
    foreground: Mask | None,
    regions: tuple[Region, ...],
    freedom: Freedom,
    transparent: bool,  # noqa: FBT001
) -> Anomaly:
    """Paste one to three varied regions into a normal picture.

    Args:
        rng: draws everything.
        base: uint8 [H, W, 3].
        foreground: bool [H, W], where the part is; None: everywhere.
        regions: of seen anomalies.
        freedom: how far they may be varied.
        transparent: let the normal picture shine through half of them.
    """
    frame, mask = base, np.zeros(base.shape[:2], np.bool_)
    for _ in range(1 + int(rng.choice(len(_REGIONS_P), p=_REGIONS_P))):
        region = regions[rng.integers(len(regions))]
        source, put = _placed(rng, region, base, foreground, freedom)
        source = _recoloured(rng, source, put, frame)
        beta = 0.0
        if transparent and rng.random() > _OPAQUE_SHARE:
            beta = rng.uniform(0, MOST_BETA)
        wide = cv2.dilate(put.view(np.uint8), _MARGIN).view(np.bool_)
        frame = paste(frame, source, wide, beta, rng.uniform(0.6, 1.2))
        mask |= put
    return Anomaly(frame, changed_pixels(base, frame, mask) & mask)


def _region(picture: Pixels, mask: Mask, part: Mask) -> Region:
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Region(
        picture,
        255 * mask.astype(np.uint8),
        (left + width / 2, top + height / 2),
        middle(part),
        bool(part[mask].mean() >= _INSIDE),
    )


def middle(part: Mask | None, size: tuple[int, int] = (0, 0)) -> tuple[float, float]:
    """Centre of the box around the part, (x, y); of a picture of `size` where there is none."""
    if part is None or not part.any():
        height, width = size if part is None else part.shape
        return width / 2, height / 2
    left, top, width, height = cv2.boundingRect(part.view(np.uint8))
    return left + width / 2, top + height / 2


def _placed(
    rng: np.random.Generator,
    region: Region,
    base: Pixels,
    foreground: Mask | None,
    freedom: Freedom,
) -> tuple[Pixels, Mask]:
    """Move a region into the picture until enough of it lies where it may; the last try counts."""
    source, put = region.picture, region.mask > 0
    for _ in range(_TRIES):
        matrix = _draw_place(rng, region, foreground, (base.shape[0], base.shape[1]), freedom)
        moved = warp(region.mask, matrix, cv2.BORDER_CONSTANT)
        source = warp(region.picture, matrix, cv2.BORDER_REFLECT_101)
        if rng.random() < _BENT_SHARE:
            across, down = bend_field(rng, (base.shape[0], base.shape[1]), 0.015 * min(moved.shape))
            moved = cv2.remap(moved, across, down, cv2.INTER_LINEAR)
            source = cv2.remap(source, across, down, cv2.INTER_LINEAR)
        put = np.asarray(moved > _KEPT_LEVEL, np.bool_)
        if foreground is not None and region.on_part:
            put &= foreground
        if np.count_nonzero(put) >= max(LEAST_PIXELS, np.count_nonzero(region.mask) // 4):
            break
    return np.asarray(source, np.uint8), put


def _draw_place(
    rng: np.random.Generator,
    region: Region,
    foreground: Mask | None,
    size: tuple[int, int],
    freedom: Freedom,
) -> NDArray[np.float64]:
    """Draw where a region goes: near its old place, turned about the part's middle, or anywhere."""
    angle = draw_turn(rng, freedom)
    flip = rng.choice((-1, 1), 2) if freedom.turns else (rng.choice((-1, 1)), 1)
    scale = np.exp(rng.uniform(*np.log(freedom.scale)))
    zoom = (float(scale * flip[0]), float(scale * flip[1]))
    fate = rng.random()
    if foreground is not None and freedom.turns and fate < 0.5:  # noqa: PLR2004
        return place(region.pivot, middle(foreground), angle, zoom)
    if fate < 0.4:  # noqa: PLR2004
        near = np.array(region.centre) + rng.uniform(-0.04, 0.04, 2) * size[::-1]
        return place(region.centre, (float(near[0]), float(near[1])), angle, zoom)
    return place(region.centre, _draw_point(rng, foreground, size), angle, zoom)


def _draw_point(
    rng: np.random.Generator, foreground: Mask | None, size: tuple[int, int]
) -> tuple[float, float]:
    """Draw a point on the part, (x, y)."""
    points = (rng.random((64, 2)) * size).astype(int)
    if foreground is None:
        return float(points[0, 1]), float(points[0, 0])
    on_part = points[foreground[points[:, 0], points[:, 1]]]
    chosen = on_part[0] if len(on_part) else points[0]
    return float(chosen[1]), float(chosen[0])


def _recoloured(rng: np.random.Generator, source: Pixels, put: Mask, frame: Pixels) -> Pixels:
    """Jitter contrast and brightness; mostly match the tone around the region to its new place."""
    shift = np.zeros(3)
    if rng.random() < _MATCHED_SHARE:
        inner = put.view(np.uint8)
        ring = cv2.dilate(inner, _RING) - inner
        if ring.any():
            shift = np.subtract(cv2.mean(frame, ring)[:3], cv2.mean(source, ring)[:3])
    levels = np.arange(256, dtype=np.float64)[:, None]
    gain = rng.uniform(0.85, 1.15)
    middle_level = np.array(cv2.mean(source, put.view(np.uint8))[:3])
    table = middle_level + (levels - middle_level) * gain + shift + rng.uniform(-8, 8)
    return apply_tones(source, table)
