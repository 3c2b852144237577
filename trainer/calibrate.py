"""Thresholds from normal pictures that the prototypes have not seen."""

import math

import numpy as np
from numpy.typing import NDArray

from engines.manifest import Thresholds


def conformal_threshold(scores: NDArray[np.floating], rate: float) -> tuple[float, float]:
    """Find the score that at most a share `rate` of further normal frames exceeds.

    Split conformal prediction: of n held-out scores take the ceil((n + 1)(1 - rate))-th smallest.
    The promise holds on average over draws of exchangeable frames, whatever their distribution.
    Few held-out frames cannot support a small rate: then the highest score is taken.

    Args:
        scores: [n] of held-out normal frames, n >= 1.
        rate: share of normal frames above the threshold, 0..1.

    Returns: the threshold, and the rate that it supports: `rate`, or 1 / (n + 1) if that is more.
    """
    ordered = np.sort(scores)
    rank = math.ceil((len(ordered) + 1) * (1 - rate) - 1e-9)  # 1 - rate is not exact in binary
    if rank > len(ordered):
        return float(ordered[-1]), 1 / (len(ordered) + 1)
    return float(ordered[rank - 1]), rate


def normals_needed(rate: float) -> int:
    """How many held-out normals support `rate`: the least n with 1 / (n + 1) <= rate."""
    return math.ceil(1 / rate - 1e-9) - 1


def pixel_threshold(maps: NDArray[np.float32]) -> float:
    """Median of the highest value in each held-out normal's map [n, H, W].

    Among the rules tried, none of which sees a defect, it marked extents best over objects and
    surfaces (docs/experiments.md, "Where the mask begins").
    """
    return float(np.median(maps.max(axis=(1, 2))))


def calibrate(scores: NDArray[np.float32], maps: NDArray[np.float32], rate: float) -> Thresholds:
    """Calibrate on held-out normals: scores [n] and maps [n, H, W] in 0..1."""
    image, supported = conformal_threshold(scores, rate)
    return Thresholds(
        image=image,
        pixel=pixel_threshold(maps),
        method=_method(len(scores), rate, supported),
        normals=len(scores),
        false_reject_rate=supported,
    )


def _method(count: int, rate: float, supported: float) -> str:
    """Say it in one sentence, with what more pictures would support."""
    pixel = "pixel: median of their highest map values"
    if supported > rate:
        return (
            f"image: highest of {count} held-out normals, which supports {supported:.2%} false "
            f"rejects ({rate:.2%} needs {normals_needed(rate)} held-out normals); {pixel}"
        )
    return (
        f"image: conformal quantile of {count} held-out normals for {rate:.2%} false rejects; "
        f"{pixel}"
    )
