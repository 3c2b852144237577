"""What normal pictures have in common: how they may be turned, how rough, whether grey."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

AnyPixels = NDArray[Any]
_GRID = 16  # cells a side in which pictures are compared
_JUDGED = 40  # pictures that decide, spread over all
_ALIKE = 2.0  # grey levels: a smaller distance is none
_FREE_RATIO = 2.0  # distance after a quarter turn by distance as they lie
_GRAINED = 0.4  # log2 of edges across by edges down: a third more of one than of the other
_SAME_RATIO = 1.2  # distance after a turn or mirroring by distance without: as like as before
_GREY_LEVELS = 2.0  # mean difference of the colours of grey pictures, JPEG included


@dataclass(frozen=True, slots=True)
class Symmetry:
    """Quarter turns, then perhaps mirrored left to right."""

    quarters: int  # 0..3, counter-clockwise
    mirrored: bool

    def __call__(self, picture: AnyPixels) -> AnyPixels:
        """Move pixels [H, W, ...]; H = W for odd quarters."""
        turned = np.rot90(picture, self.quarters)
        return turned[:, ::-1] if self.mirrored else turned


_SYMMETRIES = tuple(Symmetry(q, m) for m in (False, True) for q in range(4))[1:]  # but none


@dataclass(frozen=True, slots=True)
class Likeness:
    """What all normal pictures share."""

    turns: bool  # parts lie in any direction, or look the same from all sides
    roughness: float  # grey levels by which 5 x 5 patches of normal pictures typically differ
    grey: bool  # no colours: grey pictures stored as RGB
    symmetries: tuple[Symmetry, ...]  # turns and mirrorings after which a picture could be another


def find_likeness(normals: NDArray[np.uint8]) -> Likeness:
    """Judge uint8 [N, H, W, 3] by pictures spread over all."""
    count = min(len(normals), _JUDGED)
    judged = normals[np.linspace(0, len(normals) - 1, count).astype(int)]
    quarter = Symmetry(1, mirrored=False)
    turns = move_ratio(judged, quarter) < _FREE_RATIO and abs(grain(judged)) < _GRAINED
    spread = judged.max(axis=3).astype(np.int16) - judged.min(axis=3)
    grey = bool(spread.mean() < _GREY_LEVELS)
    return Likeness(turns, roughness(judged), grey, find_symmetries(judged))


def find_symmetries(normals: NDArray[np.uint8]) -> tuple[Symmetry, ...]:
    """Find the turns and mirrorings after which pictures are as like the others as before."""
    height, width = normals.shape[1:3]
    possible = [each for each in _SYMMETRIES if height == width or each.quarters % 2 == 0]
    return tuple(each for each in possible if move_ratio(normals, each) < _SAME_RATIO)


def move_ratio(normals: NDArray[np.uint8], move: Symmetry) -> float:
    """Median distance between pictures after moving one of them by the distance without.

    Near 1 where a moved part is as like the others as one that was not.
    """
    count = len(normals)
    upright = np.stack([_layout(picture) for picture in normals])
    moved = np.stack([_layout(move(picture)) for picture in normals])
    apart = ~np.eye(count, dtype=np.bool_) if count > 1 else np.ones((1, 1), np.bool_)
    plain = float(np.median(_distances(upright, upright)[apart]))
    return float(np.median(_distances(moved, upright)[apart])) / max(plain, _ALIKE)


def grain(normals: NDArray[np.uint8]) -> float:
    """Median log2 of edges that run down by edges that run across; 0 without a grain."""
    layouts = np.stack([_layout(picture) for picture in normals])
    edges = layouts[..., 1:].mean(axis=(1, 2)) + 1e-3
    return float(np.median(np.log2(edges[:, 0] / edges[:, 1])))


def roughness(normals: NDArray[np.uint8]) -> float:
    """Grey levels by which 5 x 5 patches of normal pictures differ where they should be alike.

    The smaller of two: from their surroundings, and from the same place of the next picture, so
    that neither the drawing of a part nor its changing pose counts.
    """
    fine = np.stack([cv2.blur(picture, (5, 5)) for picture in normals]).astype(np.int16)
    coarse = np.stack([cv2.blur(picture, (31, 31)) for picture in normals]).astype(np.int16)
    around = 1.48 * np.median(np.abs(fine - coarse))
    if len(normals) == 1:
        return float(around)
    return float(min(around, 1.05 * np.median(np.abs(np.diff(fine, axis=0)))))


def _layout(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness and strength of edges along both axes in a grid; float32 [G, G, 3]."""
    grey = cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY)
    across = np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0))
    down = np.abs(cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    stacked = np.stack([grey.astype(np.float32), across, down], axis=2)
    return np.asarray(cv2.resize(stacked, (_GRID, _GRID), interpolation=cv2.INTER_AREA), np.float32)


def _distances(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray([np.abs(others - each).mean(axis=(1, 2, 3)) for each in some], np.float32)
