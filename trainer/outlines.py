"""Outlines of defects: polygons and COCO's runs, converted to and from masks.

Coordinates are (x, y) in pixels, (0, 0) is the upper left corner of the first pixel. Runs are
COCO's: lengths of background and defect in turns, column by column, beginning with background.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.errors import DatasetError

Point = tuple[float, float]  # x, y
_MOST_COORDINATE = 1 << 20


@dataclass(frozen=True, slots=True)
class Outlines:
    """The marks of an annotation file in one picture."""

    height: int  # of the picture, as the file says; 0 where it does not
    width: int
    polygons: tuple[tuple[Point, ...], ...] = ()
    runs: tuple[tuple[int, ...], ...] = ()

    def __bool__(self) -> bool:
        """Return whether anything is marked."""
        return bool(self.polygons or self.runs)


def draw_outlines(outlines: Outlines, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark everything within the outlines, bool [H, W] of `shape`.

    Raises:
        DatasetError: coordinates far outside any picture, or runs of another size.
    """
    mask = np.zeros(shape, np.bool_)
    for polygon in outlines.polygons:
        corners = np.asarray(polygon, np.float64)
        if not (np.abs(corners) < _MOST_COORDINATE).all():
            raise DatasetError("an outline has coordinates far outside its picture")
        mask |= _filled(corners, shape)
    for runs in outlines.runs:
        mask |= mask_of_counts(runs, shape)
    return mask


def _filled(corners: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Mark the pixels whose centres lie within a polygon (x, y) [N, 2]; of a sliver, its line."""
    filled = np.zeros(shape, np.bool_)
    (x, y), (to_x, to_y) = corners.T, np.roll(corners, -1, axis=0).T
    for row in range(max(0, math.floor(y.min())), min(shape[0], math.ceil(y.max()))):
        middle = row + 0.5
        crossed = (y <= middle) != (to_y <= middle)
        slopes = (to_x[crossed] - x[crossed]) / (to_y[crossed] - y[crossed])
        edges = np.sort(x[crossed] + (middle - y[crossed]) * slopes)
        starts, ends = np.maximum(0, np.ceil(edges.reshape(-1, 2) - 0.5).astype(np.int64)).T
        for start, end in zip(starts, ends, strict=True):
            filled[row, start:end] = True
    if filled.any():
        return filled
    line = np.zeros(shape, np.uint8)
    cv2.polylines(line, [np.floor(corners).astype(np.int32)], isClosed=True, color=(1,))
    return line.astype(np.bool_)


def mask_of_counts(counts: Sequence[int], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Expand COCO's runs to bool [H, W].

    Raises:
        DatasetError: they do not fill `shape`.
    """
    height, width = shape
    if any(count < 0 for count in counts) or sum(counts) != height * width:
        raise DatasetError(f"runs of {sum(counts)} pixels, the picture has {height}x{width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(width, height).T


def counts_of_mask(mask: NDArray[np.bool_]) -> list[int]:
    """Return COCO's runs of bool [H, W]."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    edges = np.concatenate(([0], changes, [flat.size]))
    counts = np.diff(edges).tolist()
    return [0, *counts] if flat[0] else counts


def counts_of_text(text: str) -> tuple[int, ...]:
    """Read COCO's compressed runs: 5 bits a letter, the lowest first.

    From the fourth on each count is stored less the second before it.

    Raises:
        DatasetError: not in that form.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64 or shift > 60:  # noqa: PLR2004  # 6 bits; runs of 2^60 pixels
            raise DatasetError("compressed runs hold letters that COCO does not use")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)  # noqa: PLR2004
        value = shift = 0
    return tuple(counts)
