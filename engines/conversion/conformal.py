"""A threshold on scores that promises a rate of false rejects, from good pictures alone."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_EXACT = 1e-9  # sums of shares are not exact in binary


def conformal_threshold(
    scores: NDArray[np.floating], rate: float, groups: Sequence[str] | None = None
) -> tuple[float, float]:
    """Find the score that at most a share `rate` of further normal frames exceeds.

    Split conformal prediction: of n held-out scores take the ceil((n + 1)(1 - rate))-th smallest.
    The promise holds on average over draws of exchangeable frames, whatever their distribution.
    Few held-out frames cannot support a small rate: then the highest score is used.

    Pictures of one group (a part, a series, copies) repeat the same information. So each group
    counts as one frame, and its pictures share its weight. The promise is then for a picture of a
    further group (Dunn, Wasserman, Ramdas, "Distribution-free prediction sets for two-layer
    hierarchical models", JASA 2023; Lee, Barber, Willett 2023, section 3).

    Args:
        scores: [n] of held-out normal frames, n >= 1.
        rate: share of normal frames above the threshold, 0..1.
        groups: [n], group of each frame; None: each frame is a group of its own.

    Returns: the threshold, and the rate that it supports: `rate`, or 1 / (groups + 1) if more.
    """
    order = np.argsort(scores, kind="stable")
    shares = group_shares(groups if groups is not None else [str(n) for n in range(len(scores))])
    count = round(float(shares.sum()))
    reached = np.cumsum(shares[order])
    wanted = (count + 1) * (1 - rate) - _EXACT
    if wanted > count:
        return float(scores[order[-1]]), 1 / (count + 1)
    return float(scores[order[int(np.searchsorted(reached + _EXACT, wanted))]]), rate


def group_shares(groups: Sequence[str]) -> NDArray[np.float64]:
    """Return the weight of each picture, [n]; the weights of one group sum to 1."""
    _, inverse, counts = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    return np.asarray(1 / counts[inverse], np.float64)


def groups_needed(rate: float) -> int:
    """Return how many held-out groups support `rate`: the least n with 1 / (n + 1) <= rate."""
    return math.ceil(1 / rate - _EXACT) - 1
