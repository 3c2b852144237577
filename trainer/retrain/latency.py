"""Which of two engines is faster, independent of the machine's other load.

Both score the same frame in turns, so whatever slows the machine slows both. Each turn yields a
ratio. A slowdown counts only beyond a given share, because a machine's own noise is a few per cent.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.engine import Engine
from trainer.retrain.bootstrap import interval

TURNS = 40
_UNTIMED = 3  # warm-up calls, which allocate memory once
_DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Turns:
    """Milliseconds for one frame, in each turn."""

    incumbent: NDArray[np.float64]  # [T]
    candidate: NDArray[np.float64]  # [T]


@dataclass(frozen=True, slots=True)
class LatencyComparison:
    """The result of timing two engines in turns."""

    incumbent_ms: float  # median
    candidate_ms: float
    low: float  # of the median ratio, candidate / incumbent
    high: float


def time_turns(
    incumbent: Engine,
    candidate: Engine,
    turns: int = TURNS,
    clock: Callable[[], float] = time.perf_counter,
) -> Turns:
    """Score one frame of noise with both engines in turns; they alternate in going first."""
    engines = (incumbent, candidate)
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (1, *each.input_size, 3), np.uint8) for each in engines]
    took = np.empty((2, turns))
    for turn in range(-_UNTIMED, turns):
        for which in (0, 1) if turn % 2 else (1, 0):
            started = clock()
            engines[which].score(frames[which])
            if turn >= 0:
                took[which, turn] = 1000 * (clock() - started)
    return Turns(took[0], took[1])


def compare_latency(turns: Turns, confidence: float, seed: int) -> LatencyComparison:
    """Return the medians, and the interval of the median ratio."""
    ratios = turns.candidate / turns.incumbent
    which = np.random.default_rng(seed).integers(0, ratios.size, (_DRAWS, ratios.size))
    low, high = interval(np.median(ratios[which], axis=1), confidence)
    return LatencyComparison(
        float(np.median(turns.incumbent)), float(np.median(turns.candidate)), low, high
    )
