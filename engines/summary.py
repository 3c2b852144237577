"""What a line needs of every map: its highest value, and its means over a coarse grid.

The highest value tells whether a frame has a mask at all: most have none, so nobody need look at
their maps. The means are watched for drift. Plans compute both on the GPU
(engines.plans.summarised), and their maps stay there; elsewhere maps are in the host's memory, and
are summed up here.
"""

from functools import cache

import numpy as np

from engines.engine import GRID, Floats, Scores, Summary


def summary_of(scores: Scores) -> Summary:
    """Give the engine's own summary where it made one, else sum its maps up."""
    return scores.summary or summarise(scores.maps)


def summarise(maps: Floats) -> Summary:
    """Sum up maps, float32 [N, H, W]; what is no number spreads to both parts."""
    height, width = maps.shape[1:]
    with np.errstate(invalid="ignore"):  # 0 times infinity is no number, as it should be
        cells = cell_weights(height) @ maps @ cell_weights(width).T
    return Summary(np.asarray(maps.max(axis=(1, 2))), np.asarray(cells))


@cache  # two a network
def cell_weights(size: int) -> Floats:
    """Weigh the pixels of one side in each cell by the share of the cell that they cover.

    Returns: float32 [GRID, size], read only; each row sums to 1.
    """
    edges = np.arange(GRID + 1) * (size / GRID)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.asarray(covered.clip(0) * (GRID / size), np.float32)
    weights.flags.writeable = False
    return weights
