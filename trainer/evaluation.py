"""An engine judged on labelled pictures: figures, and who was wrongly let through or rejected."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import Engine
from engines.errors import PictureError
from trainer.dataset import GOOD, Pictures, Sample, load_mask
from trainer.metrics import KindCount, PixelFigures, auroc, counts_by_kind, pixel_figures

_BATCH = 8


@dataclass(frozen=True, slots=True)
class Judged:
    """What an engine says of N pictures."""

    pictures: Pictures
    scores: NDArray[np.float32]  # [N]
    maps: NDArray[np.float32]  # [N, H, W]
    masks: tuple[NDArray[np.bool_] | None, ...]  # [H, W] each; None where no mask is known


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How good that is. Fractions, 0..1; NaN where a class is absent."""

    pictures: int
    image_auroc: float
    pixel: PixelFigures
    overlap: float  # mean intersection over union of predicted and true mask, defects only
    threshold: float
    pixel_threshold: float
    kinds: tuple[KindCount, ...]
    without_mask: int  # defects that the pixel figures leave out
    unreadable: tuple[str, ...]


def judge(
    engine: Engine, pictures: Pictures, on_picture: Callable[[int], None] = lambda _: None
) -> Judged:
    """Score pictures with an engine and read their masks.

    Args:
        engine: whose input size the pictures have.
        pictures: N of them.
        on_picture: called with a number of pictures that were judged.
    """
    size = engine.input_size
    count = len(pictures.samples)
    scores = np.empty(count, np.float32)
    maps = np.empty((count, *size), np.float32)
    batch = min(_BATCH, engine.max_batch)
    for start in range(0, count, batch):
        some = slice(start, min(start + batch, count))
        answer = engine.score(pictures.pixels[some])
        scores[some], maps[some] = answer.score, answer.maps
        on_picture(some.stop - start)
    masks = tuple(_mask_or_none(sample, size) for sample in pictures.samples)
    return Judged(pictures, scores, maps, masks)


def evaluate(judged: Judged, threshold: float, pixel_threshold: float) -> Evaluation:
    """Compute all figures at the given thresholds."""
    kinds = [sample.kind for sample in judged.pictures.samples]
    defective = np.array([kind != GOOD for kind in kinds])
    known = np.array([mask is not None for mask in judged.masks])
    masks = np.stack([mask for mask in judged.masks if mask is not None])
    maps = judged.maps[known]
    return Evaluation(
        pictures=len(kinds),
        image_auroc=auroc(judged.scores, defective),
        pixel=pixel_figures(maps, masks),
        overlap=_mean_overlap(maps > pixel_threshold, masks),
        threshold=threshold,
        pixel_threshold=pixel_threshold,
        kinds=tuple(counts_by_kind(judged.scores, kinds, threshold)),
        without_mask=int((~known).sum()),
        unreadable=judged.pictures.unreadable,
    )


def evaluation_json(evaluation: Evaluation) -> str:
    """Write one JSON object; a figure that does not exist is null."""
    return json.dumps(_without_nan(asdict(evaluation)), indent=2) + "\n"


def _without_nan(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def overlaps(predicted: NDArray[np.bool_], masks: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Intersection over union of each pair of masks [N, H, W] -> [N]; NaN where both are empty."""
    union = (predicted | masks).sum(axis=(1, 2))
    shared = (predicted & masks).sum(axis=(1, 2))
    overlap = np.full(len(masks), np.nan)
    np.divide(shared, union, out=overlap, where=union > 0)
    return overlap


def _mean_overlap(predicted: NDArray[np.bool_], masks: NDArray[np.bool_]) -> float:
    marked = masks.any(axis=(1, 2))
    if not marked.any():
        return float("nan")
    return float(overlaps(predicted[marked], masks[marked]).mean())


def _mask_or_none(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    try:
        return load_mask(sample, size)
    except PictureError:
        return None  # counted as a defect without mask
