"""Masks as run lengths, as verdicts show them to programs."""

import numpy as np
from numpy.typing import NDArray

from engines.pictures.headers import MAX_PIXELS
from pipeline.errors import ForeignVerdict


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, list[int]]:
    """Return a mask [H, W] as lengths of runs, row by row, the first run being of zeros."""
    flat = np.concatenate(([False], mask.ravel(), [False]))
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    if mask.ravel()[-1]:
        edges = edges[:-1]
    bounds = np.concatenate(([0], edges, [mask.size]))
    return {"size": list(mask.shape), "counts": np.diff(bounds).tolist()}


def mask_of_runs(runs: object) -> NDArray[np.bool_]:
    """Undo `run_lengths`: the mask, bool [H, W].

    Raises:
        ForeignVerdict: these are the run lengths of no mask.
    """
    match runs:
        case {"size": [int() as height, int() as width], "counts": [*counts]}:
            pass
        case _:
            raise ForeignVerdict(f"run lengths of a mask were expected, got {runs!r:.80}")
    pixels = height * width
    fits = height > 0 and width > 0 and pixels <= MAX_PIXELS and len(counts) <= pixels + 1
    if not fits or not all(type(count) is int and 0 <= count <= pixels for count in counts):
        raise ForeignVerdict(f"run lengths of {height}x{width}, limit {MAX_PIXELS} pixels")
    if sum(counts) != pixels:
        raise ForeignVerdict(f"runs of {sum(counts)} pixels, a mask of {height}x{width}")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(height, width)
