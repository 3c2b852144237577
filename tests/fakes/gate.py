"""Golden pictures and answers about them, made up."""

from pathlib import Path

import cv2
import numpy as np

from trainer.dataset import GOOD, Pictures, Sample
from trainer.results.evaluation import ScoredPictures
from trainer.retrain.comparison import EngineAnswers

SIDE = 16


def judged(scores: np.ndarray, defects: int, quality: float = 1.0, seed: int = 3) -> ScoredPictures:
    """Answers on len(scores) pictures, of which the first `defects` show a square defect."""
    rng = np.random.default_rng(seed)
    count = len(scores)
    masks = np.zeros((count, SIDE, SIDE), np.bool_)
    masks[:defects, 4:9, 4:9] = True
    maps = np.clip(rng.normal(0.3, 0.1, masks.shape) + 0.3 * quality * masks, 0, 1)
    samples = [
        Sample(f"{number}.png", Path(f"{number}.png"), "dent" if number < defects else GOOD)
        for number in range(count)
    ]
    pixels = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    return ScoredPictures(
        Pictures(tuple(samples), pixels, ()),
        scores.astype(np.float32),
        maps.astype(np.float32),
        tuple(masks),
    )


def answers(
    separation: float, defects: int = 40, normals: int = 60, quality: float = 1.0, seed: int = 3
) -> EngineAnswers:
    """An engine whose scores tell defects apart by so many standard deviations."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(0, 1, defects + normals)
    scores[:defects] += separation
    return EngineAnswers(judged(scores, defects, quality, seed), separation / 2, 0.5)


def golden_folder(folder: Path, defects: int, normals: int) -> list[Sample]:
    """Dark pictures of good parts; defects are bright, each picture by another shade."""
    samples = []
    for number in range(defects + normals):
        defective = number < defects
        shade = (150 if defective else 50) + number % 40
        picture = np.full((SIDE, SIDE, 3), shade, np.uint8)
        path = folder / f"{number}.png"
        mask = folder / f"{number}_mask.png" if defective else None
        assert cv2.imwrite(str(path), picture)
        if mask is not None:
            assert cv2.imwrite(str(mask), np.full((SIDE, SIDE), 255, np.uint8))
        samples.append(Sample(path.name, path, "dent" if defective else GOOD, mask))
    return samples
