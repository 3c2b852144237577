"""Figures for a plant: how many good parts an engine rejects, and how many defects escape.

Each share has an upper confidence bound, because 0 of 20 is not 0 %.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

REJECT_RATE = 0.001  # share of good parts that a plant accepts to lose
_CONFIDENCE = 0.95
_CLASSES = 3

_Flags = NDArray[np.bool_]
_Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class Share:
    """A count out of a total."""

    count: int
    of: int
    at_most: float  # the true share lies below with 95 % confidence (Clopper and Pearson 1934)


@dataclass(frozen=True, slots=True)
class PromiseFigures:
    """The promised rate of false rejects, and the measured one."""

    promised: float  # share of good parts
    method: str  # how the threshold was found
    rejected: int  # of one picture of each group
    groups: int  # of good test pictures
    at_least: float  # the true share lies between these with 95 % confidence
    at_most: float
    holds: bool  # the promise is not below that interval


@dataclass(frozen=True, slots=True)
class RateFigures:
    """Recall if a given rate of the tested normal pictures may be rejected."""

    rate: float
    normals: int
    rejected: int  # of them, by `threshold`: the most that the rate allows
    threshold: float
    recall: Share  # defects above the threshold
    resolved: bool  # False: fewer than 1 / rate normal pictures, too few to show such a rate


@dataclass(frozen=True, slots=True)
class SizeFigures:
    """How defects of one class of area fare: a third of all, small to large."""

    smallest: int  # area of their masks in pixels, from
    largest: int  # to
    escapes: Share  # at the threshold
    missed_at_rate: Share


@dataclass(frozen=True, slots=True)
class PlantFigures:
    """The effect of a threshold on the parts of a line."""

    threshold: float
    false_rejects: Share  # normal, score above
    escapes: Share  # defective, score not above
    at_rate: RateFigures
    sizes: tuple[SizeFigures, ...]  # of the defects whose mask is known


def plant_figures(
    scores: _Scores,
    defective: _Flags,
    areas: NDArray[np.integer],
    threshold: float,
    rate: float = REJECT_RATE,
) -> PlantFigures:
    """Count false rejects and escapes.

    Args:
        scores: [N].
        defective: bool [N].
        areas: [N], pixels of the defect's mask; 0 for normal pictures and where it is unknown.
        threshold: scores above it are rejected.
        rate: share of normals that `PlantFigures.at_rate` may reject.
    """
    at_rate = rate_figures(scores, defective, rate)
    return PlantFigures(
        threshold=threshold,
        false_rejects=share(scores[~defective] > threshold),
        escapes=share(scores[defective] <= threshold),
        at_rate=at_rate,
        sizes=_by_size(scores[areas > 0], areas[areas > 0], threshold, at_rate.threshold),
    )


def rate_figures(scores: _Scores, defective: _Flags, rate: float) -> RateFigures:
    """Compute recall at the lowest threshold that at most a share `rate` of normals exceeds."""
    falling = np.sort(scores[~defective])[::-1]
    allowed = math.floor(rate * falling.size + 1e-9)
    if not falling.size:  # nothing to find a threshold with
        nothing = share(np.zeros(0, np.bool_))
        return RateFigures(rate, 0, 0, float("nan"), nothing, resolved=False)
    threshold = float(falling[allowed]) if allowed < falling.size else float("-inf")
    return RateFigures(
        rate=rate,
        normals=falling.size,
        rejected=int((falling > threshold).sum()),
        threshold=threshold,
        recall=share(scores[defective] > threshold),
        resolved=allowed > 0,
    )


def share(flags: _Flags) -> Share:
    """Count the true flags, with the upper bound of their share; 1 if there are no flags."""
    count, of = int(flags.sum()), int(flags.size)
    at_most = 1.0 if count == of else float(beta.ppf(_CONFIDENCE, count + 1, of - count))
    return Share(count, of, at_most)


def interval(count: int, of: int) -> tuple[float, float]:
    """Return the exact two-sided 95 % interval of a share (Clopper and Pearson 1934)."""
    tail = (1 - _CONFIDENCE) / 2
    low = 0.0 if count == 0 else float(beta.ppf(tail, count, of - count + 1))
    high = 1.0 if count == of else float(beta.ppf(1 - tail, count + 1, of - count))
    return low, high


def promise_figures(
    promised: float, method: str, rejected: _Flags, groups: Sequence[str]
) -> PromiseFigures | None:
    """Compare a promised rate of false rejects with good test pictures; None without any.

    The pictures of a group are not independent samples, so one of each group is drawn.

    Args:
        promised: share of good parts that may be rejected.
        method: how the threshold was found.
        rejected: bool [n], of the good test pictures.
        groups: [n], equal for pictures that belong together.
    """
    if not len(groups):
        return None
    order = np.random.default_rng(0).permutation(len(groups))
    drawn = {groups[place]: bool(rejected[place]) for place in order}
    low, high = interval(sum(drawn.values()), len(drawn))
    count = sum(drawn.values())
    return PromiseFigures(promised, method, count, len(drawn), low, high, holds=promised >= low)


def size_classes(areas: NDArray[np.integer]) -> NDArray[np.intp]:
    """Sort areas [N] into thirds, 0 the smallest; equal ones share a class, one may be empty."""
    shares = np.arange(1, _CLASSES) / _CLASSES
    return np.searchsorted(np.quantile(areas, shares, method="inverted_cdf"), areas, side="left")


def _by_size(
    scores: _Scores, areas: NDArray[np.integer], threshold: float, rate_threshold: float
) -> tuple[SizeFigures, ...]:
    if not areas.size:
        return ()
    classes = size_classes(areas)
    return tuple(
        SizeFigures(
            smallest=int(areas[classes == number].min()),
            largest=int(areas[classes == number].max()),
            escapes=share(scores[classes == number] <= threshold),
            missed_at_rate=share(_missed(scores[classes == number], rate_threshold)),
        )
        for number in np.unique(classes)
    )


def _missed(scores: _Scores, threshold: float) -> _Flags:
    """Return which scores lie at or below a threshold; none of them if it is NaN."""
    return np.zeros(0, np.bool_) if math.isnan(threshold) else np.asarray(scores <= threshold)
