"""What a batch costs on this machine: measured points, and the curve through them.

The engine is measured without a pipeline around it. Maps are not asked for, because a line
hardly ever asks for them.
"""

import itertools
import math
import time
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from engines.engine import NO_MAPS, Engine, Pixels
from engines.manifest import CostPoint

Clock = Literal["wall", "processor"]
_CLOCKS: tuple[Clock, ...] = ("wall", "processor")
WARM_UP_CALLS = 3
FEW = 8  # frames in a batch that hide the gap between two calls of a fast engine
LONG_MS = 5.0  # a call of this length hides the gap by itself
WORTHWHILE = 1.1  # a larger batch must be cheaper per frame by more than this, which may be noise


@dataclass(frozen=True, slots=True)
class CallTimes:
    """How long calls of one batch size took."""

    batch: int
    wall_ms: NDArray[np.float64]  # [calls]
    cpu_ms: NDArray[np.float64]  # [calls], of all cores of this process


def batch_sizes(max_batch: int) -> list[int]:
    """Return the sizes worth measuring: powers of two below `max_batch`, and `max_batch`."""
    powers = itertools.takewhile(
        lambda size: size < max_batch, (2**power for power in itertools.count())
    )
    return [*powers, max_batch]


def time_calls(
    engine: Engine, batches: Sequence[int], repeats: int, budget_s: float = math.inf
) -> list[CallTimes]:
    """Call the engine `repeats` times at each batch size, alternating sizes, after a warm-up.

    Args:
        engine: what to time; frames of noise are scored.
        batches: the sizes, 1 to `engine.max_batch`.
        repeats: calls of each size; at least 1.
        budget_s: seconds after which no new round starts; one round is always done.
    """
    frames = _noise(engine, max(batches))
    for batch in [*batches, *[batches[0]] * WARM_UP_CALLS]:
        engine.score(frames[:batch], NO_MAPS)
    took: dict[int, list[tuple[float, float]]] = {batch: [] for batch in batches}
    started = time.perf_counter()
    for _ in range(repeats):
        for batch, calls in took.items():
            calls.append(_timed(engine, frames[:batch]))
        if time.perf_counter() - started > budget_s:
            break
    return [_call_times(batch, calls) for batch, calls in sorted(took.items())]


def _noise(engine: Engine, count: int) -> Pixels:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (count, *engine.input_size, 3), dtype=np.uint8)


def _timed(engine: Engine, frames: Pixels) -> tuple[float, float]:
    """Score once; return wall time and processor time of this process, seconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    engine.score(frames, NO_MAPS)
    return time.perf_counter() - wall, time.process_time() - cpu


def _call_times(batch: int, seconds: list[tuple[float, float]]) -> CallTimes:
    milliseconds = np.array(seconds) * 1000
    return CallTimes(batch, milliseconds[:, 0], milliseconds[:, 1])


def measure_cost(
    engine: Engine, batches: Sequence[int], repeats: int, budget_s: float = math.inf
) -> list[CostPoint]:
    """Measure the median and 99th percentile of a call at each batch size; see `time_calls`."""
    return [
        CostPoint(
            batch=times.batch,
            median_ms=float(np.median(times.wall_ms)),
            p99_ms=float(np.percentile(times.wall_ms, 99)),
        )
        for times in time_calls(engine, batches, repeats, budget_s)
    ]


def measure_gain(engine: Engine, other: Engine, repeats: int, clock: Clock = "processor") -> float:
    """Measure the speed-up of an engine over another, with alternating calls.

    Args:
        engine: what to time, with a batch of a few frames.
        other: what it is compared with, for frames of the same size.
        repeats: rounds, one call of each; at least 1.
        clock: processor time does not depend on what else runs, but does not cover a GPU.

    Returns: the median of the rounds' ratios.
    """
    frames = _noise(engine, min(FEW, engine.max_batch, other.max_batch))
    for each in [engine, other] * WARM_UP_CALLS:
        each.score(frames, NO_MAPS)
    rounds = np.array([(_timed(other, frames), _timed(engine, frames)) for _ in range(repeats)])
    ratios = rounds[:, 0] / rounds[:, 1]  # [rounds, clocks]
    return float(np.median(ratios[:, _CLOCKS.index(clock)]))


@dataclass(frozen=True, slots=True)
class CostCurve:
    """The cost of a batch of any size, interpolated linearly between the measured sizes.

    It never falls: if noise made a larger batch look cheaper, the smaller one's cost applies.
    """

    batches: tuple[int, ...]  # rising
    median_ms: tuple[float, ...]  # not falling, one for each size
    p99_ms: tuple[float, ...]  # likewise

    @classmethod
    def through(cls, points: Sequence[CostPoint]) -> Self:
        """Build the curve from at least one measured point, each of another size."""
        ordered = sorted(points, key=lambda point: point.batch)
        sizes = tuple(point.batch for point in ordered)
        if not sizes or len(set(sizes)) < len(sizes):
            raise ValueError(f"a cost curve needs points of different sizes, got {list(sizes)}")
        return cls(
            sizes,
            tuple(itertools.accumulate((point.median_ms for point in ordered), max)),
            tuple(itertools.accumulate((point.p99_ms for point in ordered), max)),
        )

    def ms(self, batch: int) -> float:
        """Return the median cost of `batch` frames, milliseconds."""
        return self._read(self.median_ms, batch)

    def best_batch(self) -> int:
        """Return the size to score together when frames queue up.

        That is the smallest measured size within 10 % of the lowest cost per frame, but at least a
        few frames if the engine takes them. They hide the gap between two calls, and keep streams
        that run side by side from waiting for each other. A slow engine that scores one frame after
        another needs neither, and in a batch its first frame would wait for the last.
        """
        per_frame = [cost / size for cost, size in zip(self.median_ms, self.batches, strict=True)]
        worthwhile = WORTHWHILE * min(per_frame)
        cheap = next(
            size for size, cost in zip(self.batches, per_frame, strict=True) if cost <= worthwhile
        )
        if cheap == 1 and self.ms(1) >= LONG_MS:
            return 1
        return max(cheap, min(FEW, self.batches[-1]))

    def slow_ms(self, batch: int) -> float:
        """Return the 99th percentile of the cost of `batch` frames, milliseconds."""
        return self._read(self.p99_ms, batch)

    def _read(self, costs: tuple[float, ...], batch: int) -> float:
        """Interpolate; use the first cost below the first point, and scale beyond the last one."""
        right = bisect_left(self.batches, batch)
        if right == len(self.batches):
            return costs[-1] * batch / self.batches[-1]
        if right == 0 or self.batches[right] == batch:
            return costs[right]
        left = right - 1
        share = (batch - self.batches[left]) / (self.batches[right] - self.batches[left])
        return costs[left] + share * (costs[right] - costs[left])


class BenchPoint(BaseModel):
    """The speed at one batch size, with the spread of single calls."""

    model_config = ConfigDict(frozen=True)

    batch: int
    calls: int
    median_ms: float = Field(description="of a call")
    p5_ms: float
    p95_ms: float
    p99_ms: float
    frames_per_s: float = Field(description="batch / median")
    frames_per_s_low: float = Field(description="batch / p95")
    frames_per_s_high: float = Field(description="batch / p5")
    cpu_ms_per_frame: float = Field(description="of all cores, median")


class BenchReport(BaseModel):
    """The speed of one engine on one machine."""

    model_config = ConfigDict(frozen=True)

    engine: str
    backend: str
    machine: str
    height: int
    width: int
    points: list[BenchPoint]


def bench_engine(
    engine: Engine, batches: Sequence[int], repeats: int, budget_s: float = math.inf
) -> list[BenchPoint]:
    """Time calls at each batch size; see `time_calls` for the arguments."""
    return [_point(times) for times in time_calls(engine, batches, repeats, budget_s)]


def _point(times: CallTimes) -> BenchPoint:
    p5, median, p95, p99 = (float(ms) for ms in np.percentile(times.wall_ms, [5, 50, 95, 99]))
    return BenchPoint(
        batch=times.batch,
        calls=len(times.wall_ms),
        median_ms=median,
        p5_ms=p5,
        p95_ms=p95,
        p99_ms=p99,
        frames_per_s=times.batch * 1000 / median,
        frames_per_s_low=times.batch * 1000 / p95,
        frames_per_s_high=times.batch * 1000 / p5,
        cpu_ms_per_frame=float(np.median(times.cpu_ms)) / times.batch,
    )
