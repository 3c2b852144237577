"""Where the part is in a picture, and whether there is a part to speak of.

An object lies on a background that reaches the picture's border; a texture fills the picture, and
its foreground is everywhere. The normal pictures themselves decide which.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_FRAME = 1 / 64  # width of the border strip by the picture's side
_JUDGED = 40  # pictures that decide, spread over all
_MOST_BORDER = 0.25  # share of an object's border strip that the object may cover
_COVER = (0.03, 0.9)  # share of the picture that an object covers
_LEAST_SEPARABILITY = 0.75  # between-class variance by total variance (Otsu 1979)
_SMALL_PIECE = 0.05  # pieces smaller than this share of the largest are dirt
_SMALL_HOLE = 0.005  # holes smaller than this share of the picture are reflections


@dataclass(frozen=True, slots=True)
class ForegroundSplit:
    """One picture cut into part and background."""

    mask: NDArray[np.bool_]  # [H, W], True on the part
    border: float  # share of the border strip that the part covers
    separability: float  # 0..1: how clearly the two differ


def split_picture(picture: NDArray[np.uint8]) -> ForegroundSplit:
    """Cut uint8 [H, W, 3] by Otsu's threshold on the difference from the border's colour."""
    strip = _strip(picture.shape[:2])
    smooth = cv2.GaussianBlur(picture, (5, 5), 0)
    colour = np.median(smooth[strip], axis=0)
    difference = np.abs(smooth.astype(np.int16) - colour.astype(np.int16)).max(axis=2)
    grey = difference.astype(np.uint8)
    level, raw = cv2.threshold(grey, 0, 1, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    mask = _cleaned(raw)
    return ForegroundSplit(mask, float(raw[strip].mean()), _separability(grey, level))


def is_object(splits: list[ForegroundSplit]) -> bool:
    """Return whether most pictures show a part on a background that reaches the border."""
    border = np.median([split.border for split in splits])
    cover = np.median([split.mask.mean() for split in splits])
    separability = np.median([split.separability for split in splits])
    return bool(
        border <= _MOST_BORDER
        and _COVER[0] <= cover <= _COVER[1]
        and separability >= _LEAST_SEPARABILITY
    )


def find_foregrounds(normals: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
    """Find the part in each picture.

    Args:
        normals: uint8 [N, H, W, 3], pictures of normal parts.

    Returns: bool [N, H, W]; None for a texture: the foreground is everywhere.
    """
    judged = np.linspace(0, len(normals) - 1, min(len(normals), _JUDGED)).astype(int)
    if not is_object([split_picture(normals[index]) for index in judged]):
        return None
    return np.stack([split_picture(picture).mask for picture in normals])


def _strip(size: tuple[int, ...]) -> NDArray[np.bool_]:
    width = max(1, round(_FRAME * min(size)))
    strip = np.ones(size, np.bool_)
    strip[width:-width, width:-width] = False
    return strip


def _separability(grey: NDArray[np.uint8], level: float) -> float:
    """Between-class variance by total variance of a cut at `level`; 0 where nothing differs."""
    upper = grey > level
    share, total = float(upper.mean()), float(grey.var())
    if total < 1 or not 0 < share < 1:
        return 0.0
    between = share * (1 - share) * (float(grey[upper].mean()) - float(grey[~upper].mean())) ** 2
    return between / total


def _cleaned(raw: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Smooth the outline, keep the large pieces, fill small holes."""
    width = 2 * max(1, min(raw.shape) // 96) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))
    opened = np.asarray(cv2.morphologyEx(raw, cv2.MORPH_OPEN, kernel), np.uint8)
    areas, labels = _pieces(opened)
    large = areas >= _SMALL_PIECE * areas.max(initial=1)
    mask = np.concatenate([[False], large])[labels]
    areas, labels = _pieces((~mask).astype(np.uint8))
    small = areas < _SMALL_HOLE * mask.size
    return np.asarray(mask | np.concatenate([[False], small])[labels], np.bool_)


def _pieces(mask: NDArray[np.uint8]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Areas of the connected pieces, and the label 1.. of each pixel, 0 where there is none."""
    _, labels, figures, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    return np.asarray(figures[1:, cv2.CC_STAT_AREA], np.intp), np.asarray(labels, np.int32)
