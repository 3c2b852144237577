"""How well scores rank pictures and maps find defects: AUROC, PRO, AP, escapes, false rejects.

Every curve bends only where the threshold passes the score of a positive (a defective picture, a
pixel of a defect), so only those are kept and sorted as a whole; the many negatives are sorted
block by block and counted above each of them. That is exact, without a grid of thresholds, and
takes memory for the pixels of defects and one block. Ties are one step.
Figures are fractions, 0..1, and NaN where a class is absent.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

PRO_LIMIT = 0.3  # false-positive rate up to which PRO integrates (Bergmann et al. 2020)

BLOCK_PIXELS = 16 << 20  # sorted at once: 64 MiB

_Real = NDArray[np.float64]
_Counts = NDArray[np.int64]


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


@dataclass(frozen=True, slots=True)
class _Steps:
    """What lies above the threshold as it falls to each of D distinct scores of positives."""

    hits: _Real  # [D], weight of positives at or above
    flagged: _Counts  # [D], their number
    passed: _Counts  # [D], negatives above
    alarms: _Counts  # [D], negatives at or above
    negatives: int


def auroc(scores: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of scores [N] against labels [N]."""
    found = scores[positive]
    return _area(_steps(found, np.ones(found.size), [scores[~positive]]), 1.0)


def pixel_figures(
    maps: NDArray[np.float32],
    masks: NDArray[np.bool_],
    which: NDArray[np.intp] | None = None,
    block_pixels: int = BLOCK_PIXELS,
    inspected: NDArray[np.bool_] | None = None,
) -> PixelFigures:
    """Judge maps [N, H, W] against masks [N, H, W]; every normal picture has an empty mask.

    Args:
        maps: any real values, higher is more anomalous.
        masks: of the same shape.
        which: pictures to judge, all without it.
        block_pixels: pixels outside the masks that are sorted at once; at least one picture's.
        inspected: [H, W], pixels outside the masks that count; None: all.
    """
    chosen = np.arange(len(maps)) if which is None else which
    marked = [index for index in chosen if masks[index].any()]
    found = _joined([maps[index][masks[index]] for index in marked])
    weights = _joined([_region_weights(masks[index]) for index in marked]).astype(np.float64)
    pictures = max(1, block_pixels // max(1, masks.shape[1] * masks.shape[2]))
    steps = _steps(found, weights, _normal_blocks(maps, masks, chosen, pictures, inspected))
    each_pixel = replace(steps, hits=steps.flagged.astype(np.float64))
    return PixelFigures(
        auroc=_area(each_pixel, 1.0),
        pro=_area(steps, PRO_LIMIT),
        ap=_average_precision(steps),
    )


def counts_by_kind(
    scores: NDArray[np.floating], kinds: Iterable[str], threshold: float
) -> list[KindCount]:
    """Count what the threshold rejects, by kind, in the order in which kinds appear."""
    rejected: dict[str, list[bool]] = {}
    for score, kind in zip(scores, kinds, strict=True):
        rejected.setdefault(kind, []).append(bool(score > threshold))
    return [KindCount(kind, len(each), sum(each)) for kind, each in rejected.items()]


def _steps(
    found: NDArray[np.floating], weights: _Real, blocks: Iterable[NDArray[np.floating]]
) -> _Steps:
    """Count at the scores of positives `found` [P] with `weights` [P]; `blocks` are negatives."""
    order = np.argsort(found)[::-1]
    falling = found[order]
    ends = np.append(np.flatnonzero(np.diff(falling)), falling.size - 1)[: falling.size]
    levels = falling[ends]
    passed, alarms, negatives = np.zeros(levels.size, np.int64), np.zeros(levels.size, np.int64), 0
    for block in blocks:
        rising = np.sort(block)
        passed += rising.size - np.searchsorted(rising, levels, side="right")
        alarms += rising.size - np.searchsorted(rising, levels, side="left")
        negatives += rising.size
    return _Steps(np.cumsum(weights[order])[ends], ends + 1, passed, alarms, negatives)


def _normal_blocks(
    maps: NDArray[np.float32],
    masks: NDArray[np.bool_],
    chosen: NDArray[np.intp],
    pictures: int,
    inspected: NDArray[np.bool_] | None,
) -> Iterator[NDArray[np.float32]]:
    """Values of the pixels outside the masks, so many pictures at a time."""
    for start in range(0, len(chosen), pictures):
        some = chosen[start : start + pictures]
        normal = ~masks[some] if inspected is None else ~masks[some] & inspected
        yield maps[some][normal]


def _area(steps: _Steps, limit: float) -> float:
    """Area under hits over alarms, both as shares, from no alarm to `limit`, divided by it."""
    if steps.hits.size == 0 or steps.negatives == 0:
        return float("nan")
    before = np.concatenate(([0.0], steps.hits[:-1]))
    x = np.stack([steps.passed, steps.alarms], axis=1).ravel() / steps.negatives
    y = np.stack([before, steps.hits], axis=1).ravel() / steps.hits[-1]
    x, y = np.concatenate(([0.0], x, [1.0])), np.concatenate(([0.0], y, [1.0]))
    inside = int(np.searchsorted(x, limit, side="right"))
    clipped_x = np.append(x[:inside], limit)
    clipped_y = np.append(y[:inside], np.interp(limit, x, y))
    return float(np.trapezoid(clipped_y, clipped_x) / limit)


def _average_precision(steps: _Steps) -> float:
    """Sum of precision x rise of recall over the steps (scikit-learn's definition)."""
    if steps.flagged.size == 0:
        return float("nan")
    recall = np.concatenate(([0.0], steps.flagged / steps.flagged[-1]))
    return float(np.sum(np.diff(recall) * steps.flagged / (steps.flagged + steps.alarms)))


def _region_weights(mask: NDArray[np.bool_]) -> _Real:
    """Return each pixel of a mask [H, W] 1 / area of its 8-connected region: regions weigh 1 each.

    Returns: float64 [P], in the order of `mask`'s pixels.
    """
    _, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    found = labels[mask]
    return np.asarray(1.0 / np.bincount(found)[found])


def _joined(parts: list[NDArray[np.floating]]) -> NDArray[np.floating]:
    return np.concatenate(parts) if parts else np.empty(0)
