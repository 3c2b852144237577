"""A line whose workers swap between tiny engines, and a camera that never rests."""

import itertools
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from fakes.tiny_engine import RUNTIME, write_tiny_engine

from engines.errors import EngineError
from engines.manifest import manifest_path, read_manifest
from pipeline.codecs import Codec
from pipeline.commands.reconcile import reconcile
from pipeline.frames import FrameMeta, Verdict
from pipeline.streams.connection import RedisConnection
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import FrameConsumer
from pipeline.streams.frame_producer import FrameProducer
from pipeline.streams.keys import LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.streams.swap_coordinator import RedisSwapCoordinator
from pipeline.telemetry import Telemetry
from pipeline.verdicts import read_verdict
from pipeline.wire import FrameHeader, encode_frame_header
from pipeline.worker.active_engine import ActiveEngine
from pipeline.worker.context import WorkerContext
from pipeline.worker.decode import RingReaders
from pipeline.worker.in_flight import InFlight
from pipeline.worker.swap.controller import SwapController
from pipeline.worker.swap.engine_source import EngineSource
from pipeline.worker.swap.interfaces import RolloutSettings, WorkerHandle
from pipeline.worker.swap.loading import EngineOptions
from pipeline.worker.swap.start import load_promoted
from pipeline.worker.worker import Worker, WorkerOptions

SIDE = 16
GREEN = 100  # of every frame: its score is 0.392
WAIT_S = 20.0
ONE_MS = 1500  # rounds of a tiny engine: a frame takes about a millisecond
WAY = EngineOptions(RUNTIME.backend, RUNTIME.device, RUNTIME.threads, 0, skip_admission=False)
WATCHED = RolloutSettings(
    look_s=0.05, shadow_share=0.5, shadow_frames=5, shadow_s=5, watch_frames=40, watch_s=9
)
# real work takes its time on a busy machine: where slowness is not the matter, it is no reason
BRISK = replace(WATCHED, slower=50.0)


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@dataclass(frozen=True)
class FakePointer:
    promoted: str
    at: str


class FakeRegistry:
    """A folder of engines and a pointer in memory."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.promotions: list[FakePointer] = []
        self.refused: list[tuple[str, str]] = []
        self.away = False
        self._steps, self._salts = itertools.count(), itertools.count()

    def add(self, version: str, side: int = SIDE, **kind: Any) -> str:  # noqa: ANN401  # as for write_tiny_engine
        """Write a version; returns its engine's hash."""
        path = self.home / version / "engine.onnx"
        salt = next(self._salts)
        return write_tiny_engine(path, side, salt=salt, **({"rounds": ONE_MS} | kind)).sha256

    def promote(self, version: str) -> None:
        self.promotions.insert(0, FakePointer(version, f"step {next(self._steps)}"))

    def pointer(self) -> FakePointer | None:
        return next(iter(self.history()), None)

    def history(self) -> list[FakePointer]:
        if self.away:
            raise EngineError("nothing answers there")
        return list(self.promotions)

    def fetch(self, name: str, folder: Path) -> Path:
        copy = folder / name / "engine.onnx"
        if not copy.is_file():
            if self.away:
                raise EngineError("nothing answers there")
            shutil.copytree(self.home / name, folder / name)
        read_manifest(copy)
        return copy

    def refuse(self, name: str, promoted_at: str, why: str, by: str) -> None:
        assert FakePointer(name, promoted_at) in self.promotions
        assert why
        self.refused.append((name, by))


def spoil(cache: Path, version: str) -> None:
    """Change a byte of a copy after its hash was taken."""
    path = cache / version / "engine.onnx"
    path.write_bytes(path.read_bytes() + b" ")
    assert manifest_path(path).is_file()


class Member:
    """One worker of the rig."""

    def __init__(
        self,
        worker: Worker,
        context: WorkerContext,
        active: ActiveEngine,
        controller: SwapController,
    ) -> None:
        self.worker, self.context, self.active, self.controller = (
            worker,
            context,
            active,
            controller,
        )

    @property
    def version(self) -> str:
        return self.active.current.version

    def swaps(self, outcome: str) -> float:
        labels = {"line": self.context.telemetry._line, "outcome": outcome}
        return self.context.telemetry.registry.get_sample_value("prn_swaps_total", labels) or 0.0


class SwapRig:
    """A line, its registry, a camera in a thread."""

    def __init__(self, connection: RedisConnection, line: str, folder: Path) -> None:
        self.connection, self.line, self.folder = connection, line, folder
        self.registry = FakeRegistry(folder / "registry")
        self.first = self.registry.add("one")
        self.registry.promote("one")
        self.controls = Controls(connection.client, line)
        self.offered = 0
        self.producer = FrameProducer(connection.client, line, "cam", LineLimits())
        self.producer.join()

    @contextmanager
    def worker(self, name: str, pace: RolloutSettings = BRISK) -> Iterator[Member]:
        cache = self.folder / name
        source = EngineSource(self.registry, cache, self.line)
        coordinator = RedisSwapCoordinator(self.connection.client, self.line, name)
        active = ActiveEngine(load_promoted(source, coordinator, WAY))
        made: list[SwapController] = []

        def follow(worker: WorkerHandle) -> SwapController:
            made.append(SwapController(active, source, coordinator, WAY, worker, pace))
            return made[0]

        context = WorkerContext(
            name,
            self.connection,
            FrameConsumer(self.connection.client, self.line, name, LineLimits()),
            self.controls,
            Telemetry(self.line),
            InFlight(active.capacity),
            RingReaders(lambda _: None),  # type: ignore[arg-type,return-value]
        )
        worker = Worker(context, active, WorkerOptions(0.0, 3, None, None), follow)
        thread = threading.Thread(target=worker.run, args=(WAIT_S,))
        thread.start()
        try:
            yield Member(worker, context, active, made[0])
        finally:
            context.shutdown.draining.set()
            thread.join(2 * WAIT_S)
            active.close()
        assert not thread.is_alive()
        assert context.shutdown.failure == ""

    @contextmanager
    def camera(self, rate: float = 300.0, in_s: float = 30.0) -> Iterator[None]:
        """Offer frames at a rate until the context ends, then wait until all are answered."""
        done = threading.Event()

        def run() -> None:
            while not done.wait(1 / rate):
                self.offer(in_s)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        until(lambda: len(self.verdicts()) == self.offered)

    def offer(self, in_s: float) -> None:
        pixels = np.full((SIDE, SIDE, 3), GREEN, np.uint8).tobytes()
        now = time.time_ns()
        meta = FrameMeta("cam", self.offered, "part", now, now + int(in_s * 1e9))
        head = encode_frame_header(FrameHeader(meta, Codec.RAW, (SIDE, SIDE)))
        self.producer.offer(
            self.offered, head, pixels, len(pixels), int(in_s * 1e9), "", shed=False
        )
        self.offered += 1

    def verdicts(self) -> list[Verdict]:
        results = Ledger(self.connection.client, self.line).results("-", 100_000)
        return [read_verdict(self.line, result) for result in results]

    def engines_in_turn(self, worker: str) -> list[str]:
        """The engines that a worker judged with, by when it began each batch; repeats left out."""
        judged = [
            (
                verdict.meta.captured_ns / 1e6 + said.timings.transport_ms + said.timings.queue_ms,
                said,
            )
            for verdict in self.verdicts()
            if (said := verdict.judgement) is not None and said.worker == worker
        ]
        turns = [said.engine.sha256 for _, said in sorted(judged, key=lambda pair: pair[0])]
        return [sha256 for sha256, _ in itertools.groupby(turns)]

    def proof(self) -> None:
        """Every part that was offered has one verdict."""
        report = reconcile(Ledger(self.connection.client, self.line))
        assert report.broken() == []
        assert report.offered == self.offered
        seqs = [verdict.meta.seq for verdict in self.verdicts()]
        assert sorted(seqs) == list(range(self.offered))
