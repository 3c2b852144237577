"""Thresholds from pictures that training has not seen: normal ones, and defects if there are any.

Normals alone give a threshold that keeps false rejects under a rate. Labelled defects and what an
error costs give the threshold of least cost, and a mask that covers defects as people mark them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.conversion.conformal import conformal_threshold, groups_needed
from engines.manifest import Thresholds
from engines.zones.pixels import ZonePixels
from trainer.errors import DatasetError

_LEVELS = 512  # pixel thresholds tried at most
_OVERLAP = 0.25  # of held-out defects below the highest normal: the scores do not tell them apart


@dataclass(frozen=True, slots=True)
class Costs:
    """What a wrong verdict costs, in any unit, and how often parts are defective."""

    escape: float  # of a defect let pass
    false_reject: float  # of a good part rejected
    defect_share: float  # of all parts, above 0 and below 1


@dataclass(frozen=True, slots=True)
class HeldOutDefects:
    """Defects that training has not seen, as the network judges them."""

    scores: NDArray[np.float32]  # [m]
    maps: NDArray[np.float32]  # [m, H, W]
    masks: NDArray[np.bool_]  # [m, H, W], none of them empty


def amid_gap(threshold: float, defects: NDArray[np.floating]) -> tuple[float, bool]:
    """Move a threshold to the middle between it and the next higher score of a defect.

    Of few normals the highest score is as likely as not exceeded by the next few good parts. Up to
    the next defect no held-out one more escapes, so the middle is the safest place for both errors.
    Where more than `_OVERLAP` of the defects lie below, the two overlap: the gap is chance then.

    Args:
        threshold: the highest score of held-out normals.
        defects: scores [m] of held-out defects, m >= 0.

    Returns: the threshold, and whether it was moved.
    """
    above = defects[defects > threshold]
    if not len(above) or len(above) < (1 - _OVERLAP) * len(defects):
        return threshold, False
    return (threshold + float(above.min())) / 2, True


def pixel_threshold(maps: NDArray[np.float32]) -> float:
    """Median of the highest value in each held-out normal's map [n, H, W].

    Among the rules tried, none of which sees a defect, it marked extents best over objects and
    surfaces (docs/experiments.md, "Where the mask begins").
    """
    return float(np.median(maps.max(axis=(1, 2))))


def cost_threshold(
    normals: NDArray[np.floating], defects: NDArray[np.floating], costs: Costs
) -> tuple[float, float]:
    """Find the threshold of least expected cost per part; of equal ones the lowest.

    Between two neighbouring scores the cost is the same: their middle is taken.

    Args:
        normals: scores [n] of held-out normal frames, n >= 1.
        defects: scores [m] of held-out defects, m >= 1.
        costs: of the two errors.

    Returns: the threshold, and the expected cost of a part at it.
    """
    levels = np.unique(np.concatenate([normals, defects]).astype(np.float32))
    middles = levels[:-1] + (levels[1:] - levels[:-1]) / 2
    middles = np.minimum(middles, np.nextafter(levels[1:], levels[:-1]))  # if rounded up
    lowest = np.nextafter(levels[:1], np.float32(-np.inf))
    tried = np.concatenate((lowest, middles, levels[-1:]))
    escapes = np.searchsorted(np.sort(defects), tried, side="right") / len(defects)
    rejects = 1 - np.searchsorted(np.sort(normals), tried, side="right") / len(normals)
    expected = (
        costs.defect_share * costs.escape * escapes
        + (1 - costs.defect_share) * costs.false_reject * rejects
    )
    best = int(np.argmin(expected))
    return float(tried[best]), float(expected[best])


def expected_cost(
    normals: NDArray[np.floating], defects: NDArray[np.floating], costs: Costs, threshold: float
) -> float:
    """Expected cost of a part at a threshold: scores above it are rejected.

    Args:
        normals: scores [n] of normal frames, n >= 1.
        defects: scores [m] of defects, m >= 1.
        costs: of the two errors.
        threshold: on the scores.
    """
    escapes, rejects = float((defects <= threshold).mean()), float((normals > threshold).mean())
    escaped = costs.defect_share * costs.escape * escapes
    return escaped + (1 - costs.defect_share) * costs.false_reject * rejects


def overlap_threshold(maps: NDArray[np.float32], masks: NDArray[np.bool_]) -> float:
    """Find the pixel threshold with the highest mean overlap (IoU) of found and true masks.

    Overlap can only gain where the threshold passes a pixel of a defect, so those values are tried.

    Args:
        maps: [m, H, W] in 0..1, m >= 1.
        masks: [m, H, W], none of them empty.
    """
    values = np.unique(maps[masks])
    which = np.linspace(0, values.size - 1, min(_LEVELS, values.size)).round().astype(np.intp)
    tried = np.maximum(np.nextafter(values[which], np.float32(-1)), 0)  # a pixel must lie above
    overlap = np.zeros(tried.size)
    for anomaly_map, mask in zip(maps, masks, strict=True):
        hits = _above(anomaly_map[mask], tried)
        overlap += hits / (_above(anomaly_map.ravel(), tried) + mask.sum() - hits)
    return float(tried[np.argmax(overlap)])


def calibrate(
    scores: NDArray[np.float32],
    maps: NDArray[np.float32],
    rate: float,
    defects: HeldOutDefects | None = None,
    costs: Costs | None = None,
    groups: Sequence[str] | None = None,
    zones: ZonePixels | None = None,
) -> Thresholds:
    """Calibrate on held-out normals, and on held-out defects where there are any.

    The image threshold is of the engine's score, the peak threshold of the highest map value in
    the zones, each by the same rule.

    Args:
        scores: [n] of held-out normals.
        maps: [n, H, W] of them, in 0..1.
        rate: of false rejects that the image threshold may cause, unless `costs` decide it.
        defects: held-out ones; they decide the pixel threshold.
        costs: of errors; they need defects.
        groups: [n], equal for pictures that belong together; None: each counts alone.
        zones: of the pictures; None: the whole of them is inspected.

    Raises:
        DatasetError: costs without defects.
    """
    within = _within(defects, zones)
    plain = _calibrated(scores, _inspected(maps, zones), rate, within, costs, groups)
    of_peaks = _calibrated(
        _peaks(maps, zones), maps, rate, _peak_scores(defects, zones), costs, groups
    )
    zoned = f"; in the zones {zones.sha256[:12]}" if zones else ""
    return plain.model_copy(update={"peak": of_peaks.image, "method": f"{plain.method}{zoned}"})


def _inspected(maps: NDArray[np.float32], zones: ZonePixels | None) -> NDArray[np.float32]:
    return maps if zones is None else zones.without_ignored(maps)


def _peaks(maps: NDArray[np.float32], zones: ZonePixels | None) -> NDArray[np.float32]:
    """Return what zones score: [n, H, W] -> [n]."""
    return np.asarray(maps.max(axis=(1, 2)) if zones is None else zones.peaks(maps), np.float32)


def _within(defects: HeldOutDefects | None, zones: ZonePixels | None) -> HeldOutDefects | None:
    """Leave out what is ignored, and defects of which nothing is left."""
    if defects is None or zones is None:
        return defects
    masks = defects.masks & zones.inspected
    left = masks.any(axis=(1, 2))
    maps = zones.without_ignored(defects.maps[left])
    return HeldOutDefects(defects.scores[left], maps, masks[left])


def _peak_scores(defects: HeldOutDefects | None, zones: ZonePixels | None) -> HeldOutDefects | None:
    """Replace the scores of defects by what zones score."""
    if defects is None:
        return None
    maps = defects.maps
    if zones is not None:
        maps = maps[(defects.masks & zones.inspected).any(axis=(1, 2))]
    return HeldOutDefects(_peaks(maps, zones), maps[:0], defects.masks[:0])


def _calibrated(
    scores: NDArray[np.float32],
    maps: NDArray[np.float32],
    rate: float,
    defects: HeldOutDefects | None,
    costs: Costs | None,
    groups: Sequence[str] | None,
) -> Thresholds:
    """Calibrate one kind of score, and the pixel threshold."""
    pixel, pixel_method = _pixel(maps, defects)
    if costs is None:
        image, supported = conformal_threshold(scores, rate, groups)
        method = _rate_method(len(scores), len(set(groups or range(len(scores)))), rate, supported)
        if supported > rate and defects is not None:
            image, moved = amid_gap(image, defects.scores)
            method += (
                ", moved up to the middle of the gap below the next held-out or made defect" * moved
            )
        promised: float | None = supported
    elif defects is None or not len(defects.scores):
        raise DatasetError(
            "costs of errors need held-out defects to weigh them on: give more labelled defects, "
            "or a false-reject rate instead of costs"
        )
    else:
        image, expected = cost_threshold(scores, defects.scores, costs)
        method = _cost_method(len(scores), len(defects.scores), costs, expected)
        promised = None  # chosen on the same frames: an estimate, no promise
    return Thresholds(
        image=image,
        pixel=pixel,
        method=f"image: {method}; pixel: {pixel_method}",
        normals=len(scores),
        false_reject_rate=promised,
    )


def _pixel(maps: NDArray[np.float32], defects: HeldOutDefects | None) -> tuple[float, str]:
    if defects is None or not len(defects.maps):
        return pixel_threshold(maps), "median of their highest map values"
    chosen = overlap_threshold(defects.maps, defects.masks)
    return (
        chosen,
        f"best mean overlap with the masks of {len(defects.maps)} held-out or made defects",
    )


def _above(values: NDArray[np.float32], levels: NDArray[np.float32]) -> NDArray[np.intp]:
    return values.size - np.searchsorted(np.sort(values), levels, side="right")


def _rate_method(count: int, groups: int, rate: float, supported: float) -> str:
    """Return how it was found, with what more pictures would support."""
    held, unit = f"{count} held-out normals", "held-out normals"
    if groups < count:
        held, unit = f"{count} held-out normals in {groups} groups", "held-out groups"
    if supported > rate:
        return (
            f"highest of {held}, which supports {supported:.2%} false "
            f"rejects ({rate:.2%} needs {groups_needed(rate)} {unit})"
        )
    return f"conformal quantile of {held} for {rate:.2%} false rejects"


def _cost_method(normals: int, defects: int, costs: Costs, expected: float) -> str:
    return (
        f"least expected cost over {normals} held-out normals and {defects} held-out defects, "
        f"{costs.escape:g} an escape, {costs.false_reject:g} a false reject, "
        f"{costs.defect_share:.2%} of parts defective: {expected:.4g} a part"
    )
