"""`pipeline-bench`: what the line adds to the bare engine.

rate      frames per second of a worker on a full line ÷ those of a bare loop over the same engine
added     at half load: from capture to the verdict in the hands of a program, without inference
memory    the worker's largest resident size

Machines change their speed from one second to the next, so a few seconds of the bare loop and a few
of the line take turns, the line's processes standing still meanwhile; a ratio is that of a turn of
the line to the bare loops just before and after it. Its median and range are given.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field
from rich.table import Column, Table

from engines.admission.timing import CostCurve, batch_sizes, measure_cost
from engines.commandline.flags import File, Folder
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal
from engines.engine import NO_MAPS, Engine
from engines.files import write_atomic
from engines.open import Backend, open_engine
from pipeline.codecs import Codec, Transport
from pipeline.commands.bench_line import BenchCase, BenchLine, bench_lines
from pipeline.commands.subprocesses import ProcessFailed, stopping_on_signals
from pipeline.logs import start_logs
from pipeline.progress import progress

HALF = 0.5
_WARM_UP_CALLS = 3
Opener = Callable[[BenchCase, Codec], AbstractContextManager[BenchLine]]
Step = Callable[[int], None]


class LineBenchSettings(CommandSettings):
    """Measure rate, added latency and memory of a worker against the bare engine."""

    engine: File = Field(description="engine file, its manifest beside it")
    backend: Backend = Field(default="auto", description="what runs the engine")
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    threads: list[int] = Field(
        default=[1, 0], description="CPU cores for the engine, one after the other; 0: all"
    )
    codecs: list[Transport] = Field(
        default=[Codec.RING, Codec.RAW, Codec.JPEG], description="transports to measure"
    )
    rounds: int = Field(default=9, ge=1, description="turns of the line, for each transport")
    seconds: float = Field(default=2.0, gt=0, description="how long each turn lasts, seconds")
    out: Folder | None = Field(
        default=None, description="folder for bench.json and the logs of all processes"
    )
    as_json: bool = Field(default=False, description="print JSON instead of a table")


def bare_rate(engine: Engine, max_batch: int, seconds: float) -> float:
    """Frames per second of a loop that does nothing but score."""
    shape = (max_batch, *engine.input_size, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    for _ in range(_WARM_UP_CALLS):
        engine.score(frames[:1], NO_MAPS)
    began_s, calls = time.perf_counter(), 0
    while (took_s := time.perf_counter() - began_s) < seconds:
        engine.score(frames, NO_MAPS)
        calls += 1
    return calls * max_batch / took_s


def _bench_case(settings: LineBenchSettings, threads: int) -> BenchCase:
    with open_engine(settings.engine, settings.backend, settings.device, threads) as opened:
        sizes = batch_sizes(opened.engine.max_batch)
        best = CostCurve.through(measure_cost(opened.engine, sizes, 5, 5.0)).best_batch()
        size = opened.engine.input_size
    return BenchCase(settings.engine, settings.backend, settings.device, threads, size, best)


def _measure(
    settings: LineBenchSettings, bench_case: BenchCase, open_line: Opener, step: Step
) -> dict[str, Any]:
    """Measure one way to run the engine with every transport."""
    transports: dict[str, Any] = {}
    bare: list[float] = []
    with open_engine(
        bench_case.engine, bench_case.backend, bench_case.device, bench_case.threads
    ) as opened:

        def bare_turn() -> float:
            return bare_rate(opened.engine, bench_case.max_batch, settings.seconds)

        for codec in settings.codecs:
            with open_line(bench_case, codec) as bench_line:
                bench_line.start_camera()
                found, beside = _turns(settings, bench_line, bare_turn, step)
            bare += beside
            with open_line(bench_case, codec) as bench_line:
                rate = HALF * statistics.median(beside)
                bench_line.start_camera("--rate", f"{rate:.2f}", "--live")
                added_ms, others = bench_line.added_ms(settings.rounds * settings.seconds)
            step(1)
            transports[codec.value] = found | {"added_ms": _added(added_ms, others)}
    return {
        "threads": bench_case.threads,
        "batch": bench_case.max_batch,
        "bare_frames_per_s": _spread(bare),
        "transports": transports,
    }


def _turns(
    settings: LineBenchSettings, bench_line: BenchLine, bare_turn: Callable[[], float], step: Step
) -> tuple[dict[str, Any], list[float]]:
    """Measure line and bare loop in turns; return the line's figures and the bare rates."""
    with bench_line.suspended():
        bare = [bare_turn()]
    line: list[float] = []
    for _ in range(settings.rounds):
        line.append(bench_line.frames_per_s(settings.seconds))
        with bench_line.suspended():
            bare.append(bare_turn())
        step(1)
    ratios = [
        2 * rate / (before + after)
        for rate, before, after in zip(line, bare[:-1], bare[1:], strict=True)
    ]
    figures = {
        "frames_per_s": _spread(line),
        "rate_to_bare": _spread(ratios),
        "worker_peak_mb": round(bench_line.worker_peak_mb(), 1),
    }
    return figures, bare


def _added(added_ms: list[float], others: int) -> dict[str, float]:
    if not added_ms:
        raise ProcessFailed(f"half load: no frame was judged in time, {others} were shed or late")
    p50, p99 = np.percentile(added_ms, [50, 99])
    figures = {"p50": round(float(p50), 3), "p99": round(float(p99), 3)}
    return figures | {"frames": len(added_ms), "shed_or_late": others}


def _spread(figures: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(figures), 4),
        "min": round(min(figures), 4),
        "max": round(max(figures), 4),
    }


def run(settings: LineBenchSettings) -> int:
    """Measure and print; bench.json into `out`."""
    start_logs("error", "text")
    with tempfile.TemporaryDirectory(prefix="prn-bench-") as folder, stopping_on_signals():
        logs = (settings.out or Path(folder)) / "logs"
        ways = [_bench_case(settings, threads) for threads in settings.threads]
        steps = len(ways) * len(settings.codecs) * (settings.rounds + 1)
        open_line = bench_lines(Path(folder), logs)
        with progress("bench", steps, shown=sys.stderr.isatty()) as step:
            found = [_measure(settings, bench_case, open_line, step) for bench_case in ways]
    figures = {"machine": machine(), "engine": settings.engine.name, "ways": found}
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
        write_atomic(settings.out / "bench.json", json.dumps(figures, indent=2).encode())
    if settings.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _show(figures)
    return 0


def machine() -> str:
    """Name the machine that figures come from."""
    cores = len(os.sched_getaffinity(0))
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    return f"{_processor()}, {cores} cores, {memory_gb:.0f} GiB, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _show(figures: dict[str, Any]) -> None:
    console = Terminal()
    console.print(f"{figures['engine']} on {figures['machine']}")
    table = Table(
        "cores",
        "by",
        "frames/s",
        "÷ bare",
        Column("range", no_wrap=True),
        "added ms, p50",
        "p99",
        "MB",
    )
    for way in figures["ways"]:
        cores = str(way["threads"] or "all")
        bare = way["bare_frames_per_s"]
        table.add_row(cores, "bare loop", f"{bare['median']:.1f}", "1", "", "", "", "")
        for codec, found in way["transports"].items():
            ratio, added = found["rate_to_bare"], found["added_ms"]
            table.add_row(
                cores,
                codec,
                f"{found['frames_per_s']['median']:.1f}",
                f"{ratio['median']:.3f}",
                f"{ratio['min']:.2f}..{ratio['max']:.2f}",
                f"{added['p50']:.2f}",
                f"{added['p99']:.2f}",
                f"{found['worker_peak_mb']:.0f}",
            )
    console.print(table)
