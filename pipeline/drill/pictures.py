"""The pictures that a drill shows, and what its engine decides of each."""

import time
from pathlib import Path

import numpy as np

from engines.backends.fixed import FixedPlan, fixed_scores, write_fixed_engine
from pipeline.camera.pace import FramePacer
from pipeline.frames import Decision

SEED = 1
SOURCE = f"synthetic:{SEED}"
VARIETY = 32  # pictures, shown in turn


def write_engine(path: Path, size: int) -> list[Decision]:
    """Write the fixed engine of a drill; returns what it decides of each picture.

    Its threshold lies in the widest gap between scores of the middle half: a codec that changes
    pixels changes no decision, and about as many parts are bad as good.
    """
    scores = _scores(size)
    ordered = np.sort(scores)
    middle = slice(VARIETY // 4, 3 * VARIETY // 4)
    widest = int(np.diff(ordered)[middle].argmax()) + VARIETY // 4
    threshold = float(ordered[widest] + ordered[widest + 1]) / 2
    plan = FixedPlan(height=size, width=size)
    write_fixed_engine(path, plan, image_threshold=threshold)
    return [Decision.NG if score > threshold else Decision.OK for score in scores]


def _scores(size: int) -> np.ndarray:
    from pipeline.camera.sources.synthetic import SyntheticSource  # noqa: PLC0415  # it needs an extra

    pacer = FramePacer(None, time.monotonic, lambda _: False)
    source = SyntheticSource(SEED, pacer, time.time_ns, (size, size), VARIETY)
    return fixed_scores(np.stack([shot.pixels for shot in source.shots("")]))
