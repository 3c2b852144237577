"""What the threads of a worker share: its connections, hand-overs between them, its shutdown."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from pipeline.drift.monitor import DriftMonitor
from pipeline.errors import PipelineError
from pipeline.frames import Judgement, Reason
from pipeline.streams.connection import RedisConnection
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Entry, FrameConsumer
from pipeline.telemetry import Telemetry
from pipeline.worker.active_engine import LoadedEngine
from pipeline.worker.decode import RingReaders
from pipeline.worker.in_flight import InFlight, InFlightFrame
from pipeline.worker.judge import DecisionThresholds, FrameScore

_log = logging.getLogger(__name__)


class FrameArchive(Protocol):
    """Keeps frames for labels that come later; `archiver.Archiver` is one."""

    def start(self) -> None:
        """Begin to write."""
        ...

    def offer(self, frame: InFlightFrame, answer: str, judgement: Judgement | None) -> None:
        """Take a frame whose `answer` was published, if it is worth a label; never waits."""
        ...

    def close(self, until_s: float) -> None:
        """Write what waits, until `until_s` of the monotonic clock."""
        ...


class BooksWatch(Protocol):
    """Notices that Redis went back to an earlier state; `RollbackWatch` is one."""

    rollbacks: int

    def note_frame(self, camera: str, seq: int) -> None:
        """Remember that a frame was admitted."""
        ...

    def look(self) -> None:
        """Compare what is remembered with Redis, about once a second."""
        ...

    def ask(self) -> object:
        """Compare it now."""
        ...

    def close(self) -> None:
        """Note the end of this process."""
        ...


class Shutdown:
    """The two steps of stopping, and what went wrong if something did."""

    def __init__(self) -> None:
        self.draining = threading.Event()  # read nothing more, answer what is in hand
        self.giving_up = threading.Event()  # do not wait for Redis any longer
        self.failure = ""

    def fail(self, why: str) -> None:
        """Stop because of an error; the first one is kept."""
        self.failure = self.failure or why
        self.draining.set()

    def guarded_thread(self, run: Callable[[], None], name: str) -> threading.Thread:
        """Make a thread whose unexpected error stops the worker instead of passing unseen."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001  # the edge of a thread
                self.fail(f"{name}: {error}")
                self.giving_up.set()
                expected = isinstance(error, PipelineError)  # a sentence says all of it
                fields = {"in": name, "why": str(error)}
                _log.error("thread.failed", extra=fields, exc_info=not expected)

        return threading.Thread(target=guarded, name=name, daemon=True)


# None: nothing more comes
Outbox: TypeAlias = "queue.SimpleQueue[ScoredBatch | RejectedFrames | None]"


@dataclass(frozen=True)
class WorkerContext:
    """Everything between a worker's threads and between them and the line."""

    name: str
    connection: RedisConnection
    frame_consumer: FrameConsumer
    controls: Controls
    telemetry: Telemetry
    in_flight: InFlight
    ring_readers: RingReaders
    archiver: FrameArchive | None = None  # None: nothing is archived
    outbox: Outbox = field(default_factory=queue.SimpleQueue)
    shutdown: Shutdown = field(default_factory=Shutdown)
    drift_monitor: DriftMonitor = field(default_factory=DriftMonitor)
    rollback_watch: BooksWatch | None = None  # None: nobody looks whether Redis went back


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """A batch and what the engine says of each of its frames."""

    batch: list[InFlightFrame]
    frame_scores: list[FrameScore]
    started_ns: int  # UTC
    inference_ms: float
    engine: LoadedEngine  # whose engine it was
    thresholds: DecisionThresholds  # in force when it was scored


@dataclass(frozen=True, slots=True)
class RejectedFrames:
    """Entries that are answered UNKNOWN."""

    entries: list[Entry]
    reason: Reason
    why: str
    frames: tuple[InFlightFrame, ...] = ()  # of these entries, those whose pixels are in hand
