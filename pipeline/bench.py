"""`pipeline-bench`: what the line adds to the bare engine.

rate      frames per second of a worker on a full line ÷ those of a bare loop over the same engine
added     at half load: from capture to the verdict in the hands of a program, without inference
memory    the worker's largest resident size

Bare loop and transports take turns, round by round, so that a machine whose speed drifts does not
favour one of them; each ratio is of one round, and its median and range are given.
"""

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field
from rich.console import Console
from rich.table import Table

from engines.command import CommandSettings
from engines.cost import CostCurve, batch_sizes, measure_cost
from engines.manifest import write_atomic
from engines.open import open_engine
from pipeline.codecs import Codec
from pipeline.crew import Crew, peak_mb, stopping_on_signals, wait_until
from pipeline.logs import start_logs
from pipeline.progress import progress
from pipeline.streams.connect import Access
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger
from pipeline.streams.link import Link, linked
from pipeline.streams.outcome import Outcomes
from pipeline.wire import decode_head, decode_judgement

VARIETY = 64
START_WAIT_S = 60.0
FILL_S = 2.0  # until the line is full and the worker at its pace
PROGRAM = "bench"
HALF = 0.5
_PAGE = 100


class BenchSettings(CommandSettings):
    """Measure rate, added latency and memory of a worker against the bare engine."""

    engine: Path = Field(description="engine file, its manifest beside it")
    backend: Literal["auto", "openvino", "onnxruntime", "fixed"] = Field(
        default="auto", description="what runs the engine"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N")
    threads: list[int] = Field(
        default=[1, 0], description="CPU cores for the engine, one after the other; 0: all"
    )
    codecs: list[Codec] = Field(
        default=[Codec.RING, Codec.RAW, Codec.JPEG], description="transports to measure"
    )
    rounds: int = Field(default=5, ge=1, description="times that each is measured")
    seconds: float = Field(default=5.0, gt=0, description="how long each is measured, seconds")
    out: Path | None = Field(
        default=None, description="folder for bench.json and the logs of all processes"
    )
    as_json: bool = Field(default=False, description="print JSON instead of a table")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A worker under full load."""

    frames_per_s: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Setting:
    """One way to run the engine."""

    settings: BenchSettings
    threads: int
    size: tuple[int, int]
    max_batch: int


def bare_rate(setting: Setting) -> float:
    """Frames per second of a loop that does nothing but score."""
    settings = setting.settings
    with open_engine(settings.engine, settings.backend, settings.device, setting.threads) as opened:
        shape = (setting.max_batch, *setting.size, 3)
        frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        for _ in range(3):
            opened.engine.score(frames)
        began_s, calls = time.perf_counter(), 0
        while (took_s := time.perf_counter() - began_s) < settings.seconds:
            opened.engine.score(frames)
            calls += 1
    return calls * setting.max_batch / took_s


class Rig:
    """A fresh line with one worker and one camera, for the time of one measurement."""

    def __init__(self, setting: Setting, codec: Codec, crew: Crew, link: Link, line: str) -> None:
        self._setting = setting
        self._codec = codec
        self._crew = crew
        self._line = line
        self._link = link
        self._ledger = Ledger(link.client, line)
        settings = setting.settings
        self.worker = crew.start(
            f"worker-{line}",
            "pipeline-worker",
            "--line",
            line,
            "--engine",
            str(settings.engine),
            "--backend",
            settings.backend,
            "--device",
            settings.device,
            "--threads",
            str(setting.threads),
            "--max-batch",
            str(setting.max_batch),
        )

    def camera(self, *flags: str) -> None:
        """Start the camera, once the worker is there."""
        wait_until(self._worker_beats, START_WAIT_S, "the worker's first heartbeat")
        height, width = self._setting.size
        self._camera = self._crew.start(
            f"camera-{self._line}",
            "pipeline-camera",
            "--line",
            self._line,
            "--source",
            "synthetic:1",
            "--variety",
            str(VARIETY),
            "--size",
            f"{height}x{width}",
            "--codec",
            self._codec.value,
            "--budget-mb",
            "32",
            *flags,
        )

    def answered(self) -> int:
        """Verdicts so far."""
        return sum(self._ledger.books().counts.values())

    def wait_for_verdicts(self) -> None:
        """Wait until the first verdicts come."""
        wait_until(
            lambda: self._running() and self.answered() > 0, START_WAIT_S, "the first verdict"
        )

    def _worker_beats(self) -> bool:
        if not self.worker.alive():
            self.worker.check(self.worker.process.returncode)
        return bool(Controls(self._link.client, self._line).workers())

    def _running(self) -> bool:
        for member in (self.worker, self._camera):
            if not member.alive():
                member.check(member.process.returncode)
        return True

    def full_load(self) -> Loaded:
        """Let the camera offer as fast as the line takes."""
        self.camera()
        self.wait_for_verdicts()
        time.sleep(FILL_S)
        began_s, before = time.perf_counter(), self.answered()
        time.sleep(self._setting.settings.seconds)
        took_s, answered = time.perf_counter() - began_s, self.answered() - before
        return Loaded(answered / took_s, peak_mb(self.worker.process.pid))

    def half_load(self, frames_per_s: float) -> list[float]:
        """Pace the camera; returns the added latency of each frame, milliseconds."""
        outcomes = Outcomes(self._link.client, self._line)
        outcomes.join(PROGRAM, from_start=True)
        self.camera("--rate", f"{frames_per_s:.2f}", "--live")
        self.wait_for_verdicts()
        until_s = time.monotonic() + FILL_S + self._setting.settings.seconds
        added: list[tuple[float, float]] = []
        while time.monotonic() < until_s:
            for result in outcomes.read(PROGRAM, _PAGE, 100, again=False):
                now_ns = time.time_ns()
                if result.judgement is not None:
                    captured_ns = decode_head(result.head).meta.captured_ns
                    inference_ms = decode_judgement(result.judgement).timings.inference_ms
                    added.append((time.monotonic(), (now_ns - captured_ns) / 1e6 - inference_ms))
        settled_s = until_s - self._setting.settings.seconds
        return [late_ms for at_s, late_ms in added if at_s > settled_s]


def _setting(settings: BenchSettings, threads: int) -> Setting:
    with open_engine(settings.engine, settings.backend, settings.device, threads) as opened:
        sizes = batch_sizes(opened.engine.max_batch)
        curve = CostCurve.through(measure_cost(opened.engine, sizes, 5, 5.0))
        return Setting(settings, threads, opened.engine.input_size, curve.best_batch())


def _measure(
    setting: Setting,
    open_rig: Callable[[Setting, Codec], AbstractContextManager[Rig]],
    step: Callable[[int], None],
) -> dict[str, Any]:
    """Take all rounds of one way to run the engine."""
    codecs = setting.settings.codecs
    bare: list[float] = []
    loaded: dict[Codec, list[Loaded]] = {codec: [] for codec in codecs}
    added: dict[Codec, list[float]] = {codec: [] for codec in codecs}
    for _ in range(setting.settings.rounds):
        before = bare_rate(setting)
        step(1)
        this: dict[Codec, Loaded] = {}
        for codec in codecs:
            with open_rig(setting, codec) as rig:
                this[codec] = rig.full_load()
            with open_rig(setting, codec) as rig:
                added[codec] += rig.half_load(HALF * before)
            step(1)
        bare.append((before + bare_rate(setting)) / 2)  # before and after: drift cancels
        for codec in codecs:
            loaded[codec].append(this[codec])
    return {
        "threads": setting.threads,
        "batch": setting.max_batch,
        "bare_frames_per_s": _spread(bare),
        "transports": {
            codec.value: {
                "frames_per_s": _spread([one.frames_per_s for one in loaded[codec]]),
                "rate_to_bare": _spread(
                    [one.frames_per_s / rate for one, rate in zip(loaded[codec], bare, strict=True)]
                ),
                "added_ms": {
                    "p50": round(float(np.percentile(added[codec], 50)), 3),
                    "p99": round(float(np.percentile(added[codec], 99)), 3),
                    "frames": len(added[codec]),
                },
                "worker_peak_mb": round(max(one.peak_mb for one in loaded[codec]), 1),
            }
            for codec in codecs
        },
    }


def _spread(figures: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(figures), 4),
        "min": round(min(figures), 4),
        "max": round(max(figures), 4),
    }


def run(settings: BenchSettings) -> int:
    """Measure and print; bench.json into `out`."""
    start_logs("error", "text")
    with tempfile.TemporaryDirectory(prefix="prn-bench-") as folder, stopping_on_signals():
        logs = (settings.out or Path(folder)) / "logs"
        ways = [_setting(settings, threads) for threads in settings.threads]
        steps = len(ways) * settings.rounds * (1 + len(settings.codecs))
        with progress("bench", steps, shown=sys.stderr.isatty()) as step:
            found = [_measure(way, _rigs(Path(folder), logs), step) for way in ways]
    figures = {"machine": machine(), "engine": settings.engine.name, "ways": found}
    if settings.out is not None:
        settings.out.mkdir(parents=True, exist_ok=True)
        write_atomic(settings.out / "bench.json", json.dumps(figures, indent=2).encode())
    if settings.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _show(figures)
    return 0


def _rigs(folder: Path, logs: Path) -> Callable[[Setting, Codec], AbstractContextManager[Rig]]:
    numbers = iter(range(1_000_000))

    @contextmanager
    def open_rig(setting: Setting, codec: Codec) -> Iterator[Rig]:
        number = next(numbers)
        state = folder / "redis" / str(number)
        environment = {"PRN_STATE_DIR": str(state), "PRN_LOG_FORMAT": "json"}
        with linked(Access(""), state) as link, Crew(logs, environment) as crew:
            yield Rig(setting, codec, crew, link, f"bench-{number}")

    return open_rig


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
    console = Console(highlight=False)
    console.print(f"{figures['engine']} on {figures['machine']}")
    table = Table(
        "cores",
        "transport",
        "frames/s",
        "÷ bare (range)",
        "added p50, ms",
        "added p99, ms",
        "worker, MB",
    )
    for way in figures["ways"]:
        cores = str(way["threads"] or "all")
        bare = way["bare_frames_per_s"]
        table.add_row(cores, "bare loop", f"{bare['median']:.1f}", "1", "", "", "")
        for codec, found in way["transports"].items():
            ratio, added = found["rate_to_bare"], found["added_ms"]
            table.add_row(
                cores,
                codec,
                f"{found['frames_per_s']['median']:.1f}",
                f"{ratio['median']:.3f} ({ratio['min']:.3f}..{ratio['max']:.3f})",
                f"{added['p50']:.2f}",
                f"{added['p99']:.2f}",
                f"{found['worker_peak_mb']:.0f}",
            )
    console.print(table)
