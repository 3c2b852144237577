"""Seen anomalies cut into regions that can be pasted elsewhere."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.blend import Mask, Pixels
from trainer.anomalies.foreground import split_picture

LEAST_PIXELS = 8  # of a region: seen anomalies may be small themselves
_INSIDE = 0.75  # share of a region on the part from which on it stays on parts
_PIECES_MOST = 6
_PIECE_SHARE = 0.1  # of all pixels of the anomaly: smaller pieces are crumbs of the drawing
_RING = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (11, 11))
_MARGIN = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (3, 3))


@dataclass(frozen=True, slots=True)
class DefectRegion:
    """A seen anomaly, or one connected piece of it, in its own picture."""

    picture: Pixels  # [H, W, 3], borrowed
    layers: Pixels  # [H, W, 2], 0 or 255: what is labelled; what is cut out, a little more
    box: tuple[int, int, int, int]  # around the cut: left, top, width, height
    pivot: tuple[float, float]  # middle of the part in its picture, (x, y)
    tone: float | None  # grey level of the part around the region; None: nothing is around
    on_part: bool  # lies on the part, so it stays on parts
    pixels: int  # labelled

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the box, (x, y)."""
        left, top, width, height = self.box
        return left + width / 2, top + height / 2


def find_regions(
    seen: NDArray[np.uint8],
    masks: NDArray[np.bool_],
    objects: bool,  # noqa: FBT001
) -> tuple[DefectRegion, ...]:
    """Cut seen anomalies into regions: each whole, and piece by piece where it has a few.

    Args:
        seen: uint8 [S, H, W, 3].
        masks: bool [S, H, W].
        objects: the pictures show parts on a background.
    """
    regions: list[DefectRegion] = []
    for picture, mask in zip(seen, masks, strict=True):
        part = split_picture(picture).mask if objects else None
        count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
        pieces = [mask]
        if 2 < count <= 1 + _PIECES_MOST:  # noqa: PLR2004  # more than one piece
            found = [labels == label for label in range(1, count)]
            pieces += [each for each in found if each.sum() >= _PIECE_SHARE * mask.sum()]
        cut = (_cut(picture, piece, part) for piece in pieces)
        regions += [region for region in cut if region is not None]
    return tuple(regions)


def middle(part: Mask) -> tuple[float, float]:
    """Centre of the box around the part, (x, y); of the picture where there is no part."""
    left, top, width, height = cv2.boundingRect(part.view(np.uint8))
    if not width:
        return part.shape[1] / 2, part.shape[0] / 2
    return left + width / 2, top + height / 2


def tone_around(picture: Pixels, inner: Pixels, part: Mask | None) -> float | None:
    """Mean grey level of the part in a ring around a mask (uint8 [H, W], 0 or 1)."""
    ring = cv2.dilate(inner, _RING) - inner
    if part is not None:
        ring = np.where(part, ring, 0)
    if np.count_nonzero(ring) < LEAST_PIXELS:
        return None
    return float(np.mean(cv2.mean(picture, ring)[:3]))


def _cut(picture: Pixels, mask: Mask, part: Mask | None) -> DefectRegion | None:
    """Cut one region out; None where nothing of it is left."""
    whole = np.ones(mask.shape, np.bool_) if part is None else part
    on_part = part is None or bool(mask.any() and part[mask].mean() >= _INSIDE)
    if on_part and part is not None:  # without the background that shines in at the outline
        mask = mask & cv2.erode(part.view(np.uint8), _MARGIN).view(np.bool_)
    if np.count_nonzero(mask) < LEAST_PIXELS:
        return None
    inner = mask.astype(np.uint8)
    wide = cv2.dilate(inner, _MARGIN)
    if on_part:
        wide = cv2.bitwise_and(wide, cv2.erode(whole.view(np.uint8), _MARGIN))
    left, top, width, height = cv2.boundingRect(wide)
    return DefectRegion(
        picture,
        255 * np.stack([inner, wide], axis=2),
        (left, top, width, height),
        middle(whole),
        tone_around(picture, inner, part),
        on_part,
        int(np.count_nonzero(mask)),
    )
