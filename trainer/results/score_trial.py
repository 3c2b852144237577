"""Image scores compared on the same maps: which one ranks defects best, small ones above all.

For measurements only (docs/experiments.md): no command uses it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainer.networks.image_score import Score
from trainer.results.metrics import auroc
from trainer.results.plant_figures import REJECT_RATE, Share, rate_figures, size_classes

_BATCH = 64


@dataclass(frozen=True, slots=True)
class ScoreTrial:
    """How one image score ranks. Fractions, 0..1; NaN where a class is absent."""

    name: str
    auroc: float
    by_size: tuple[float, ...]  # AUROC of each third of the defects by area, small to large
    recall: Share  # at the rate of false rejects that was asked for


def compare_scores(
    scores: Mapping[str, Score],
    maps: NDArray[np.float32],
    defective: NDArray[np.bool_],
    areas: NDArray[np.integer],
    rate: float = REJECT_RATE,
) -> tuple[ScoreTrial, ...]:
    """Score maps with every candidate.

    Args:
        scores: by name, from `image_score.candidates`.
        maps: [N, H, W] in 0..1.
        defective: bool [N].
        areas: [N], pixels of the defect's mask; 0 for normal pictures and where it is unknown.
        rate: of false rejects at which recall is taken.
    """
    return tuple(
        _trial(name, apply_score(score, maps), defective, areas, rate)
        for name, score in scores.items()
    )


def apply_score(score: Score, maps: NDArray[np.float32]) -> NDArray[np.float32]:
    """Score maps [N, H, W] some at a time: [N]."""
    with torch.inference_mode():
        parts = [
            score(torch.from_numpy(maps[start : start + _BATCH])).numpy()
            for start in range(0, len(maps), _BATCH)
        ]
    return np.concatenate(parts)


def _trial(
    name: str,
    scores: NDArray[np.float32],
    defective: NDArray[np.bool_],
    areas: NDArray[np.integer],
    rate: float,
) -> ScoreTrial:
    sized = np.flatnonzero(areas > 0)
    classes = size_classes(areas[sized]) if sized.size else np.empty(0, np.intp)
    normals = np.flatnonzero(~defective)
    by_size = []
    for number in np.unique(classes):
        which = np.concatenate([normals, sized[classes == number]])
        by_size.append(auroc(scores[which], defective[which]))
    recall = rate_figures(scores, defective, rate).recall
    return ScoreTrial(name, auroc(scores, defective), tuple(by_size), recall)
