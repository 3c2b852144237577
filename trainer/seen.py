"""The few defects that a network may learn from: drawn by seed, gone from the test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from trainer.dataset import GOOD, Dataset, Sample, load_mask, load_pictures


@dataclass(frozen=True, slots=True)
class Seen:
    """Pictures of seen defects with their masks."""

    pixels: NDArray[np.uint8]  # [S, H, W, 3], RGB
    masks: NDArray[np.bool_]  # [S, H, W]


def draw_seen(dataset: Dataset, count: int, seed: int) -> tuple[tuple[Sample, ...], Dataset]:
    """Draw `count` defects with a mask, the kinds in turn, and take them from the test pictures.

    Returns: the drawn samples, fewer where there are not so many; the dataset without them.
    """
    rng = np.random.default_rng(seed)
    defects = [sample for sample in dataset.test if sample.kind != GOOD and sample.mask]
    queues = []
    for kind in sorted({sample.kind for sample in defects}):
        of_kind = [sample for sample in defects if sample.kind == kind]
        queues.append([of_kind[index] for index in rng.permutation(len(of_kind))])
    longest = max((len(queue) for queue in queues), default=0)
    in_turn = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    seen = tuple(in_turn[:count])
    rest = tuple(sample for sample in dataset.test if sample not in seen)
    return seen, replace(dataset, test=rest)


def load_seen(samples: Sequence[Sample], size: tuple[int, int]) -> Seen:
    """Read seen defects and their masks at `size` (height, width); unreadable ones are left out.

    Raises:
        DatasetError: there are some, and none is readable.
        PictureError: a mask is unreadable.
    """
    if not samples:
        return Seen(np.empty((0, *size, 3), np.uint8), np.empty((0, *size), np.bool_))
    pictures = load_pictures(samples, size)
    masks = [load_mask(sample, size) for sample in pictures.samples]
    known = [index for index, mask in enumerate(masks) if mask is not None]
    return Seen(pictures.pixels[known], np.stack([m for m in masks if m is not None]))
