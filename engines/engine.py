"""The Engine protocol: all that a worker knows about a network and the machine that runs it.

A line needs two summaries of every map: its highest value and its means over a coarse grid. The
highest value decides whether a frame has a mask at all. The means are watched for drift. Plans
compute both on the GPU (engines.conversion.map_summary), and their maps stay there. Other engines
have their maps in the host's memory and summarise them here.
"""

import math
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.errors import ShapeError

Pixels = NDArray[np.uint8]  # [N, H, W, 3], RGB
Floats = NDArray[np.float32]
Indices = NDArray[np.int32]
ALL_MAPS, NO_MAPS = -math.inf, math.inf  # below every value of a map, and above
GRID = 4  # cells on each side of a map


@dataclass(frozen=True, slots=True)
class MapSummary:
    """Summary of the maps of N frames; the module docstring explains its use."""

    peak: Floats  # [N], highest value
    cells: Floats  # [N, GRID, GRID], means


@dataclass(frozen=True, slots=True)
class Scores:
    """An engine's answers for a batch of N frames. The arrays belong to the engine."""

    score: Floats  # [N], raw
    maps: Floats  # [N, H, W], 0..1
    nearest: Indices | None = None  # [N, S], nearest prototype per scale
    distance: Floats | None = None  # [N, S], its distance
    summary: MapSummary | None = None  # summary of the maps, if the engine made one


class Engine(Protocol):
    """Scores batches of frames. Not thread-safe: one caller at a time."""

    @property
    def max_batch(self) -> int:
        """The most frames that one call takes."""
        ...

    @property
    def input_size(self) -> tuple[int, int]:
        """(height, width) in pixels that every frame must have."""
        ...

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        """Score `frames`, uint8 [N, H, W, 3] RGB with 1 <= N <= max_batch.

        The arrays returned are valid until the next call, which may reuse them.

        Args:
            frames: what to score.
            maps_above: 0..1; maps without a value above it are not needed. An engine that returns a
                summary may leave anything in their place.

        Raises:
            ShapeError: the frames do not fit the engine.
            ScoringError: the backend failed.
        """
        ...

    def close(self) -> None:
        """Free everything; the engine cannot be used afterwards."""
        ...


def check_frames(frames: Pixels, input_size: tuple[int, int], max_batch: int) -> None:
    """Raise ShapeError, which states what fits, unless `frames` fit the engine."""
    wanted = f"uint8 [1..{max_batch}, {input_size[0]}, {input_size[1]}, 3]"
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:  # noqa: PLR2004
        raise ShapeError(f"engine takes {wanted}, got {frames.dtype} {list(frames.shape)}")
    if frames.shape[1:3] != input_size:
        got = f"{frames.shape[1]}x{frames.shape[2]}"
        raise ShapeError(
            f"engine takes frames of {input_size[0]}x{input_size[1]} (height x width), got {got}: "
            "set the camera's --size to the engine's"
        )
    if not 1 <= frames.shape[0] <= max_batch:
        raise ShapeError(f"engine takes {wanted}, got a batch of {frames.shape[0]}")


def summary_of(scores: Scores) -> MapSummary:
    """Return the engine's own summary if it made one, else summarise its maps."""
    return scores.summary or summarise_maps(scores.maps)


def summarise_maps(maps: Floats) -> MapSummary:
    """Summarise maps, float32 [N, H, W]; NaN spreads to both parts."""
    height, width = maps.shape[1:]
    with np.errstate(invalid="ignore"):  # 0 times infinity is NaN, as it should be
        cells = cell_weights(height) @ maps @ cell_weights(width).T
    return MapSummary(np.asarray(maps.max(axis=(1, 2))), np.asarray(cells))


@cache  # two per network
def cell_weights(size: int) -> Floats:
    """Weigh the pixels along one side by the share of each cell that they cover.

    Returns: float32 [GRID, size], read only; each row sums to 1.
    """
    edges = np.arange(GRID + 1) * (size / GRID)
    pixels = np.arange(size)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.asarray(covered.clip(0) * (GRID / size), np.float32)
    weights.flags.writeable = False
    return weights
