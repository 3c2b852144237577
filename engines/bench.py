"""How fast an engine is on this machine, without a pipeline around it."""

import math
from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from engines.cost import CallTimes, time_calls
from engines.engine import Engine


class BenchPoint(BaseModel):
    """The speed at one batch size; the spread is that of single calls."""

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
    """Time calls at each batch size; see `engines.cost.time_calls` for the arguments."""
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
