"""How well scores rank pictures and maps find defects: AUROC, PRO, AP, escapes, false rejects.

All curves come from one sort and cumulative sums, ties taken as one step: no grid of thresholds.
Figures are fractions, 0..1, and NaN where a class is absent.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

PRO_LIMIT = 0.3  # false-positive rate up to which PRO integrates (Bergmann et al. 2020)

_Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class PixelFigures:
    """How well maps find defects, over all pixels of all pictures."""

    auroc: float
    pro: float  # to a false-positive rate of `PRO_LIMIT`
    ap: float


@dataclass(frozen=True, slots=True)
class KindCount:
    """What the threshold does to the pictures of one kind."""

    kind: str
    pictures: int
    rejected: int  # score above the threshold


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores [N] against labels [N]."""
    hits, alarms = _cumulated(scores, positive.astype(np.float64), (~positive).astype(np.float64))
    return _area(alarms, hits, 1.0)


def pixel_figures(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> PixelFigures:
    """Judge maps [N, H, W] against masks [N, H, W]; every normal picture has an empty mask."""
    defect = masks.ravel()
    order = np.argsort(maps.ravel())[::-1]
    ends = _step_ends(maps.ravel()[order])
    hit = np.cumsum(defect[order], dtype=np.float64)[ends]
    alarm = ends + 1 - hit
    covered = np.cumsum(_region_weights(masks).ravel()[order])[ends]
    return PixelFigures(
        auroc=_area(_from_zero(alarm), _from_zero(hit), 1.0),
        pro=_area(_from_zero(alarm), _from_zero(covered), PRO_LIMIT),
        ap=_average_precision(hit, ends + 1),
    )


def counts_by_kind(
    scores: NDArray[np.floating], kinds: Iterable[str], threshold: float
) -> list[KindCount]:
    """Count what the threshold rejects, by kind, in the order in which kinds appear."""
    rejected: dict[str, list[bool]] = {}
    for score, kind in zip(scores, kinds, strict=True):
        rejected.setdefault(kind, []).append(bool(score > threshold))
    return [KindCount(kind, len(each), sum(each)) for kind, each in rejected.items()]


def _cumulated(scores: NDArray[np.floating], *weights: _Real) -> list[_Real]:
    """Sum each weight over everything at or above each distinct score, falling; starts at 0."""
    order = np.argsort(scores)[::-1]
    ends = _step_ends(scores[order])
    return [_from_zero(np.cumsum(weight[order])[ends]) for weight in weights]


def _step_ends(falling: NDArray[np.floating]) -> NDArray[np.intp]:
    """Index of the last of each run of equal values."""
    return np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)


def _from_zero(curve: _Real) -> _Real:
    return np.concatenate(([0.0], curve))


def _area(x: _Real, y: _Real, limit: float) -> float:
    """Area under y(x), both scaled to end at 1, from x = 0 to `limit`, divided by `limit`."""
    if x[-1] == 0 or y[-1] == 0:
        return float("nan")
    x, y = x / x[-1], y / y[-1]
    inside = int(np.searchsorted(x, limit, side="right"))
    at_limit = np.interp(limit, x, y)
    clipped_x = np.append(x[:inside], limit)
    clipped_y = np.append(y[:inside], at_limit)
    return float(np.trapezoid(clipped_y, clipped_x) / limit)


def _average_precision(hit: _Real, flagged: NDArray[np.intp]) -> float:
    """Sum of precision x rise of recall over the steps (scikit-learn's definition)."""
    if hit[-1] == 0:
        return float("nan")
    recall = _from_zero(hit / hit[-1])
    return float(np.sum(np.diff(recall) * hit / flagged))


def _region_weights(masks: NDArray[np.bool_]) -> _Real:
    """Give each defect pixel 1 / area of its 8-connected region, so each region weighs 1."""
    weights = np.zeros(masks.shape, np.float64)
    for mask, weight in zip(masks, weights, strict=True):
        if mask.any():
            _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
            weight[mask] = 1.0 / np.bincount(labels.ravel())[labels[mask]]
    return weights
