"""A line under load, for `pipeline-bench`: one worker, one camera, a Redis of their own."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from engines.open import Backend
from pipeline.codecs import Codec
from pipeline.commands.subprocesses import ChildProcess, ProcessGroup, peak_mb, wait_until
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger
from pipeline.streams.result_reader import ResultReader
from pipeline.wire import decode_frame_header, decode_judgement

VARIETY = 64
BUDGET_MB = 32
START_WAIT_S = 60.0
FILL_S = 2.0  # until a new line is full and its worker at its pace
SETTLE_S = 0.5  # the same after a halt
PROGRAM = "bench"
_LOOK_S = 0.002
_PAGE = 100


@dataclass(frozen=True, slots=True)
class BenchCase:
    """One way to run the engine."""

    engine: Path
    backend: Backend
    device: str
    threads: int
    size: tuple[int, int]  # (height, width) of the frames
    max_batch: int


class BenchLine:
    """A fresh line with one worker and one camera."""

    def __init__(
        self,
        bench_case: BenchCase,
        codec: Codec,
        processes: ProcessGroup,
        connection: RedisConnection,
        line: str,
    ) -> None:
        self._bench_case = bench_case
        self._codec = codec
        self._processes = processes
        self._line = line
        self._connection = connection
        self._ledger = Ledger(connection.client, line)
        self._worker = processes.start(f"worker-{line}", "pipeline-worker", *self._worker_flags())
        self._children: list[ChildProcess] = [self._worker]

    def start_camera(self, *flags: str) -> None:
        """Start the camera, once the worker is there; wait for the first verdict."""
        wait_until(self._worker_beats, START_WAIT_S, "the worker's first heartbeat")
        camera = self._processes.start(
            f"camera-{self._line}", "pipeline-camera", *self._camera_flags(), *flags
        )
        self._children.append(camera)
        wait_until(lambda: self._answered() > 0, START_WAIT_S, "the first verdict")
        time.sleep(FILL_S)

    def frames_per_s(self, seconds: float) -> float:
        """Count verdicts for about so long, from one publication to another."""
        began_s, before = self._next_publication()
        time.sleep(seconds)
        ended_s, after = self._next_publication()
        return (after - before) / (ended_s - began_s)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Leave the machine to others: worker and camera stand still meanwhile."""
        for child in self._children:
            child.suspend()
        try:
            yield
        finally:
            for child in self._children:
                child.resume()
            time.sleep(SETTLE_S)

    def added_ms(self, seconds: float) -> tuple[list[float], int]:
        """For so long, what the line adds to each frame's inference, milliseconds.

        From its capture until its verdict is in this program's hands.

        Returns: that of each frame judged; how many others were shed or late.
        """
        result_reader = ResultReader(self._connection.client, self._line)
        result_reader.join(PROGRAM, from_start=False)
        until_s = time.monotonic() + seconds
        added: list[float] = []
        others = 0
        while time.monotonic() < until_s:
            for result in result_reader.read(PROGRAM, _PAGE, 100, again=False):
                now_ns = time.time_ns()
                if result.judgement is None:
                    others += 1
                else:
                    captured_ns = decode_frame_header(result.header).meta.captured_ns
                    inference_ms = decode_judgement(result.judgement).timings.inference_ms
                    added.append((now_ns - captured_ns) / 1e6 - inference_ms)
        return added, others

    def worker_peak_mb(self) -> float:
        """Largest resident memory of the worker so far."""
        return peak_mb(self._worker.process.pid)

    def _next_publication(self) -> tuple[float, int]:
        """Wait for the next verdicts: when they came, seconds, and how many there are then."""
        before = self._answered()
        while (now := self._answered()) == before:
            time.sleep(_LOOK_S)
        return time.perf_counter(), now

    def _answered(self) -> int:
        for child in self._children:
            if not child.alive():
                child.check(child.process.returncode)
        return sum(self._ledger.snapshot().counts.values())

    def _worker_beats(self) -> bool:
        if not self._worker.alive():
            self._worker.check(self._worker.process.returncode)
        return bool(Controls(self._connection.client, self._line).workers())

    def _worker_flags(self) -> list[str]:
        bench_case = self._bench_case
        return [
            *("--line", self._line),
            *("--engine", str(bench_case.engine)),
            *("--backend", bench_case.backend),
            *("--device", bench_case.device),
            *("--threads", str(bench_case.threads)),
            *("--max-batch", str(bench_case.max_batch)),
            *("--skip-admission", "--allow-fixed-engine"),  # nothing is judged here, only timed
        ]

    def _camera_flags(self) -> list[str]:
        height, width = self._bench_case.size
        return [
            *("--line", self._line),
            *("--source", "synthetic:1"),
            *("--variety", str(VARIETY)),
            *("--size", f"{height}x{width}"),
            *("--codec", self._codec.value),
            *("--budget-mb", str(BUDGET_MB)),
        ]


def bench_lines(
    folder: Path, logs: Path
) -> Callable[[BenchCase, Codec], AbstractContextManager[BenchLine]]:
    """Return what opens rigs, each on a line and a server of its own."""
    numbers = iter(range(1_000_000))

    @contextmanager
    def open_line(bench_case: BenchCase, codec: Codec) -> Iterator[BenchLine]:
        number = next(numbers)
        state = folder / "redis" / str(number)
        environment = {"PRN_STATE_DIR": str(state), "PRN_LOG_FORMAT": "json"}
        with (
            open_connection(Access(""), state) as connection,
            ProcessGroup(logs, environment) as processes,
        ):
            yield BenchLine(bench_case, codec, processes, connection, f"bench-{number}")

    return open_line
