"""Paired bootstrap: the confidence interval of a difference between two engines.

Groups of golden pictures are resampled with replacement, thousands of times. Groups of normal
pictures, of defective ones and of both are drawn separately. Pictures of one part are nearly the
same, so drawing them one by one would make an interval too narrow. Both engines are judged on every
draw. A draw is a row of counts, one for each picture, so all draws are a few matrix products:

- a share is counts @ flags by the number drawn;
- an AUROC is counts_defects @ wins @ counts_normals, where wins[d, n] is 1 if the defect's score is
  higher and 1/2 at a tie; this is exact;
- an AP needs the number of pixels above each level, which for a draw is counts @ histograms, with
  one histogram for each picture and the same levels for all. The levels are quantiles of the values
  of defect pixels, because these are where an AP has its steps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVELS = 1024
_TOGETHER = 200  # draws of histograms in memory at once

Reals = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Draws:
    """How often each picture occurs in each draw."""

    defects: Reals  # [B, D]
    normals: Reals  # [B, n]


@dataclass(frozen=True, slots=True)
class Histograms:
    """Number of pixels of each picture in each of K bins of map values, from high to low."""

    marked: Reals  # [N, K], pixels of a defect
    unmarked: Reals  # [N, K]


def draw(defects: Sequence[str], normals: Sequence[str], seed: int, draws: int = DRAWS) -> Draws:
    """Resample the groups with replacement, `draws` times.

    Args:
        defects: [D], the group of each defective picture.
        normals: [n], the group of each normal picture; a group may hold both kinds.
        seed: of the random generator.
        draws: number of draws.
    """
    rng = np.random.default_rng(seed)
    in_order, both = tuple(dict.fromkeys((*defects, *normals))), {*defects} & {*normals}
    kinds = ({*defects} - both, {*normals} - both, both)
    strata = [[key for key in in_order if key in kind] for kind in kinds]
    places = {key: place for place, key in enumerate(key for keys in strata for key in keys)}
    counts = np.concatenate([_counts(rng, len(keys), draws) for keys in strata], axis=1)
    return Draws(
        counts[:, [places[key] for key in defects]], counts[:, [places[key] for key in normals]]
    )


def shares(counts: Reals, flags: Flags) -> Reals:
    """Return the share of flagged pictures in each draw; counts [B, N], flags [N] -> [B]."""
    return np.asarray(counts @ flags / counts.sum(axis=1))


def aurocs(draws: Draws, defects: NDArray[np.floating], normals: NDArray[np.floating]) -> Reals:
    """Return the image AUROC of each draw, [B].

    Args:
        draws: which pictures each draw holds.
        defects: [D], their scores, in the order of the draws.
        normals: [n], likewise.
    """
    gap = defects[:, None] - normals[None, :]
    wins = (gap > 0) + 0.5 * (gap == 0)  # [D, n]
    won = np.einsum("bn,bn->b", draws.defects @ wins, draws.normals)
    pairs = draws.defects.sum(axis=1) * draws.normals.sum(axis=1)
    return np.asarray(won / pairs)


def map_histograms(
    maps: NDArray[np.float32], masks: NDArray[np.bool_], levels: int = LEVELS
) -> Histograms:
    """Count the pixels of maps [N, H, W] inside and outside masks [N, H, W]."""
    edges = np.unique(np.quantile(maps[masks], np.linspace(0, 1, levels), method="nearest"))
    marked = np.zeros((len(maps), len(edges) + 1))
    unmarked = np.zeros_like(marked)
    for index, (each, mask) in enumerate(zip(maps, masks, strict=True)):
        place = len(edges) - np.searchsorted(edges, each, side="right")  # 0: at or above all edges
        marked[index] = np.bincount(place[mask], minlength=len(edges) + 1)
        unmarked[index] = np.bincount(place[~mask], minlength=len(edges) + 1)
    return Histograms(marked, unmarked)


def average_precisions(counts: Reals, histograms: Histograms) -> Reals:
    """Return the pixel AP of each draw; counts [B, N] -> [B]. NaN for a draw without defects."""
    found = []
    for start in range(0, len(counts), _TOGETHER):
        some = counts[start : start + _TOGETHER]
        hits = np.cumsum(some @ histograms.marked, axis=1)  # [b, K]
        alarms = np.cumsum(some @ histograms.unmarked, axis=1)
        precision = hits / np.maximum(hits + alarms, 1)
        recall = hits / np.maximum(hits[:, -1:], 1)
        steps = np.diff(recall, axis=1, prepend=0.0)
        precisions = np.sum(steps * precision, axis=1)
        found.append(np.where(hits[:, -1] > 0, precisions, np.nan))
    return np.concatenate(found)


def interval(values: Reals, confidence: float) -> tuple[float, float]:
    """Return the central interval that holds a `confidence` share of the values, without NaN."""
    tail = (1 - confidence) / 2
    low, high = np.nanquantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _counts(rng: np.random.Generator, groups: int, draws: int) -> Reals:
    if not groups:
        return np.zeros((draws, 0))
    even = np.full(groups, 1 / groups)
    return rng.multinomial(groups, even, size=draws).astype(np.float64)
