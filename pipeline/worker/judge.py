"""Scores -> judgements: thresholds, mask, regions. Pure."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from engines.engine import Floats, MapSummary, Scores, summary_of
from engines.errors import ScoringError
from pipeline.frames import Decision, EngineName, Judgement, Region, Timings
from pipeline.wire import MAX_REGIONS

if TYPE_CHECKING:  # a line without zones loads none of it
    from engines.zones.pixels import ZonePixels
    from pipeline.worker.zones import LineZones

_CONNECTIVITY = 8


@dataclass(frozen=True, slots=True)
class DecisionThresholds:
    """Where OK ends."""

    image: float  # raw score above which a frame is NG; with zones, highest map value
    pixel: float  # map value above which a pixel belongs to the mask
    zones: "LineZones | None" = None  # None: the whole picture is judged by the engine's score


@dataclass(frozen=True, slots=True)
class FrameScore:
    """What an engine says of one frame of a batch."""

    score: float
    anomaly_map: Floats | None  # [H, W], 0..1; None: no value of it is above the pixel threshold
    cells: tuple[float, ...] = ()  # means of the map over a coarse grid, row by row
    nearest: tuple[int, ...] = ()
    distance: tuple[float, ...] = ()
    zones: "ZonePixels | None" = None  # of its camera
    zone: str = ""  # where the score is


def checked_summary(scores: Scores) -> MapSummary:
    """Return the summary of a batch's maps, and refuse NaN and infinity.

    NaN is above no threshold, so its part would pass as OK.

    Raises:
        ScoringError: a score, map or distance is infinite or NaN.
    """
    distance = scores.score if scores.distance is None else scores.distance
    summary = summary_of(scores)
    if not all(
        np.isfinite(values).all()
        for values in (scores.score, distance, summary.peak, summary.cells)
    ):
        raise ScoringError("a score, map or distance is no number: prove it with engine-admit")
    return summary


def normalise(score: float, threshold: float) -> float:
    """Map a raw score to 0..1, rising, 0.5 at the threshold.

    score / (score + threshold) for scores and thresholds above zero, as those of this project's
    models; a logistic of their difference otherwise.
    """
    if threshold > 0 and score >= 0:
        return score / (score + threshold)
    return float(1 / (1 + np.exp(np.clip(threshold - score, -60, 60))))


def judge(
    frame_score: FrameScore,
    thresholds: DecisionThresholds,
    mm_per_pixel: tuple[float, float] | None,
    engine: EngineName,
    timings: Timings,
    worker: str,
) -> Judgement:
    """Decide OK or NG for one frame, and where.

    Args:
        frame_score: what the engine said.
        thresholds: the thresholds; the pixel's is the one by which maps were left out.
        mm_per_pixel: (vertical, horizontal), where calibrated.
        engine: who said it.
        timings: where the time went.
        worker: which process.
    """
    zones = frame_score.zones
    mask, regions = _marked(frame_score.anomaly_map, thresholds.pixel, mm_per_pixel, zones)
    return Judgement(
        judged=Decision.NG if frame_score.score > thresholds.image else Decision.OK,
        score=frame_score.score,
        normalised=normalise(frame_score.score, thresholds.image),
        threshold=thresholds.image,
        pixel_threshold=thresholds.pixel,
        regions=regions,
        mask=mask,
        engine=engine,
        timings=timings,
        worker=worker,
        nearest=frame_score.nearest,
        distance=frame_score.distance,
        cells=frame_score.cells,
        zone=frame_score.zone,
        zones=zones.sha256 if zones else "",
    )


def _marked(
    anomaly_map: Floats | None,
    threshold: float,
    mm_per_pixel: tuple[float, float] | None,
    zones: "ZonePixels | None",
) -> tuple[NDArray[np.bool_] | None, tuple[Region, ...]]:
    """Return mask and regions, where there are any."""
    if anomaly_map is None:
        return None, ()
    if zones is None:
        mask = anomaly_map > threshold
        regions = find_regions(anomaly_map, mask, mm_per_pixel)
    else:
        mask = anomaly_map > zones.pixel_limit(threshold)
        regions = tuple(
            replace(region, zone=_zone_of(region, anomaly_map, mask, zones))
            for region in find_regions(anomaly_map, mask, mm_per_pixel)
        )
    return (mask if regions else None), regions


def _zone_of(
    region: Region, anomaly_map: Floats, mask: NDArray[np.bool_], zones: "ZonePixels"
) -> str:
    """Return the zone of a region's highest pixel."""
    rows = slice(region.top, region.top + region.height)
    columns = slice(region.left, region.left + region.width)
    peak = np.float32(region.peak)
    place = int(np.argmax(mask[rows, columns] & (anomaly_map[rows, columns] == peak)))
    row, column = divmod(place, region.width)
    return zones.zone_at(region.top + row, region.left + column)


def find_regions(
    anomaly_map: Floats, mask: NDArray[np.bool_], mm_per_pixel: tuple[float, float] | None
) -> tuple[Region, ...]:
    """Find the 8-connected pieces of a mask, by falling peak; the largest few hundred at most.

    Args:
        anomaly_map: float32 [H, W].
        mask: [H, W].
        mm_per_pixel: (vertical, horizontal), where calibrated.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if rows.size == 0:
        return ()
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    top, left = int(rows[0]), int(columns[0])
    box = (slice(top, int(rows[-1]) + 1), slice(left, int(columns[-1]) + 1))
    _, labels, stats, _ = cv2.connectedComponentsWithStats(  # its time goes with the area
        mask[box].astype(np.uint8), connectivity=_CONNECTIVITY
    )
    largest = np.argsort(-stats[1:, cv2.CC_STAT_AREA], kind="stable")[:MAX_REGIONS] + 1
    regions = [
        _region(anomaly_map[box], labels, stats[label], int(label), (top, left), mm_per_pixel)
        for label in largest
    ]
    return tuple(sorted(regions, key=lambda region: -region.peak))


def _region(
    anomaly_map: Floats,
    labels: Any,  # noqa: ANN401  # int32 [H, W]; cv2 types its arrays as "Mat or any"
    stats: Any,  # noqa: ANN401  # left, top, width, height, area
    label: int,
    corner: tuple[int, int],
    mm_per_pixel: tuple[float, float] | None,
) -> Region:
    left, top, width, height, area = (int(number) for number in stats)
    box = (slice(top, top + height), slice(left, left + width))
    peak = float(anomaly_map[box][labels[box] == label].max())
    top, left = top + corner[0], left + corner[1]
    if mm_per_pixel is None:
        return Region(top, left, height, width, area, peak)
    vertical, horizontal = mm_per_pixel
    return Region(
        top,
        left,
        height,
        width,
        area,
        peak,
        area_mm2=area * vertical * horizontal,
        height_mm=height * vertical,
        width_mm=width * horizontal,
    )
