"""A line with one worker in this process, whose engine can be held up or made to fail."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from engines.admission.timing import CostCurve
from engines.engine import ALL_MAPS, Pixels, Scores, check_frames, summarise_maps
from engines.errors import ScoringError
from engines.manifest import CostPoint, Manifest, Thresholds
from pipeline.codecs import Codec, encode_pixels
from pipeline.frames import EngineName, FrameMeta, Verdict
from pipeline.ring.ring import RingReader
from pipeline.streams.connection import RedisConnection
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import FrameConsumer
from pipeline.streams.frame_producer import FrameProducer, Status
from pipeline.streams.keys import LineLimits
from pipeline.streams.ledger import Ledger
from pipeline.telemetry import Telemetry
from pipeline.verdicts import read_verdict
from pipeline.wire import FrameHeader, RingPlace, encode_frame_header
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.archiver import Archiver
from pipeline.worker.context import WorkerContext
from pipeline.worker.decode import RingReaders
from pipeline.worker.in_flight import InFlight
from pipeline.worker.worker import Worker, WorkerOptions
from pipeline.worker.zones import ZonesInForce

SIDE = 16
CURSED = 13  # a red value that this engine fails on
OVERFLOWING = 14  # a red value that this engine gives no number for
MANIFEST = Manifest(
    sha256="0" * 64,
    model="probe",
    version="1",
    created="2026-01-01T00:00:00Z",
    format="fixed",
    format_version="1",
    device="any",
    height=SIDE,
    width=SIDE,
    max_batch=4,
    precision="fp32",
    thresholds=Thresholds(image=0.5, pixel=0.5, method="chosen", normals=0),
)
WAIT_S = 20.0


class ProbeEngine:
    """Scores the mean green of a frame; fails on cursed ones, may be held up."""

    max_batch = 4
    input_size = (SIDE, SIDE)

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.free = threading.Event()
        self.free.set()

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        check_frames(frames, self.input_size, self.max_batch)
        self.batches.append(len(frames))
        assert self.free.wait(WAIT_S)
        if (frames[:, 0, 0, 0] == CURSED).any():
            raise ScoringError("a cursed frame")
        maps = frames[..., 1].astype(np.float32) / 255
        maps[frames[..., 0] == OVERFLOWING] = np.nan
        summary, score = summarise_maps(maps), maps.mean(axis=(1, 2))
        maps[summary.peak <= maps_above] = np.nan  # who looks at them all the same fails
        return Scores(score, maps, summary=summary)

    def close(self) -> None:
        self.free.set()


class Bench:
    """A line with one worker in this process, and a camera to feed it."""

    def __init__(self, connection: RedisConnection, line: str, limits: LineLimits) -> None:
        self.connection, self.line, self.limits = connection, line, limits
        self.engine = ProbeEngine()
        self.lanes = [self.engine]
        self.archiver: Archiver | None = None
        self.zones: Path | None = None
        self.peak_threshold: float | None = None
        self.curve_ms = 1.0  # what the engine is believed to take for one frame
        self.producer = FrameProducer(connection.client, line, "cam", limits)
        self.producer.join()

    @contextmanager
    def worker(self, name: str = "worker") -> Iterator[Worker]:
        cost = CostPoint(batch=1, median_ms=self.curve_ms, p99_ms=self.curve_ms)
        curve = CostCurve.through([cost])
        engine = EngineName(MANIFEST.model, MANIFEST.version, MANIFEST.sha256)
        lanes, peak = tuple(self.lanes), self.peak_threshold
        loaded = LoadedEngine(engine, MANIFEST.thresholds, lanes, curve, 4, peak_threshold=peak)
        zones = ZonesInForce(self.zones, "", loaded) if self.zones else None
        active = ActiveEngine(loaded)
        context = WorkerContext(
            name,
            self.connection,
            FrameConsumer(self.connection.client, self.line, name, self.limits),
            Controls(self.connection.client, self.line),
            Telemetry(self.line),
            InFlight(active.capacity),
            RingReaders(RingReader.attach),
            self.archiver,
        )
        worker = Worker(context, active, WorkerOptions(0.0, 3, None, None, zones))
        thread = threading.Thread(target=worker.run, args=(WAIT_S,))
        thread.start()
        try:
            yield worker
        finally:
            for engine in self.lanes:
                engine.free.set()
            context.shutdown.draining.set()
            thread.join(2 * WAIT_S)
        assert not thread.is_alive()

    def offer(
        self, seq: int, green: int = 50, *, red: int = 0, codec: Codec = Codec.RAW, in_s: float = 60
    ) -> None:
        pixels = np.full((SIDE, SIDE, 3), (red, green, 0), np.uint8)
        self.offer_bytes(seq, codec, encode_pixels(pixels, codec), in_s=in_s)

    def offer_bytes(
        self, seq: int, codec: Codec, payload: bytes, *, side: int = SIDE, in_s: float = 60
    ) -> None:
        now = time.time_ns()
        meta = FrameMeta("cam", seq, f"part-{seq}", now, now + int(in_s * 1e9))
        head = encode_frame_header(FrameHeader(meta, codec, (side, side)))
        result = self.producer.offer(
            seq, head, payload, len(payload), int(in_s * 1e9), "", shed=False
        )
        assert result.status is Status.ADMITTED

    def offer_ring(self, seq: int, place: RingPlace, *, in_s: float = 60) -> None:
        """Offer a frame whose pixels lie at a place in a ring."""
        now = time.time_ns()
        meta = FrameMeta("cam", seq, f"part-{seq}", now, now + int(in_s * 1e9))
        head = encode_frame_header(FrameHeader(meta, Codec.RING, (SIDE, SIDE), place))
        result = self.producer.offer(seq, head, b"", 100, int(in_s * 1e9), "", shed=False)
        assert result.status is Status.ADMITTED

    def verdicts(self) -> dict[int, Verdict]:
        results = Ledger(self.connection.client, self.line).results("-", 10_000)
        found = [read_verdict(self.line, result) for result in results]
        assert len({verdict.meta.seq for verdict in found}) == len(found), "two for one part"
        return {verdict.meta.seq: verdict for verdict in found}

    def wait_for(self, count: int) -> dict[int, Verdict]:
        until(lambda: len(self.verdicts()) >= count)
        return self.verdicts()


def until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
