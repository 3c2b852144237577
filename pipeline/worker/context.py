"""What the threads of a worker share: its connections, hand-overs between them, its shutdown."""

import logging
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from pipeline.drift.monitor import DriftWatch
from pipeline.frames import Judgement, Reason
from pipeline.streams.connection import Link
from pipeline.streams.control import Controls
from pipeline.streams.frame_consumer import Entry, Work
from pipeline.telemetry import Telemetry
from pipeline.worker.active_engine import Serving
from pipeline.worker.decode import Rings
from pipeline.worker.in_flight import Held, Tray
from pipeline.worker.judge import Limits, Row

_log = logging.getLogger(__name__)


class FrameArchive(Protocol):
    """Keeps frames for labels that come later; `archivist.Archivist` is one."""

    def start(self) -> None:
        """Begin to write."""
        ...

    def offer(self, held: Held, answer: str, judgement: Judgement | None) -> None:
        """Take a frame whose `answer` was published, if it is worth a label; never waits."""
        ...

    def close(self, until_s: float) -> None:
        """Write what waits, until `until_s` of the monotonic clock."""
        ...


class Halt:
    """The two steps of stopping, and what went wrong if something did."""

    def __init__(self) -> None:
        self.draining = threading.Event()  # read nothing more, answer what is in hand
        self.giving_up = threading.Event()  # do not wait for Redis any longer
        self.failure = ""

    def fail(self, why: str) -> None:
        """Stop because of an error; the first one is kept."""
        self.failure = self.failure or why
        self.draining.set()

    def guard(self, run: Callable[[], None], name: str) -> threading.Thread:
        """Make a thread whose unexpected error stops the worker instead of passing unseen."""

        def guarded() -> None:
            try:
                run()
            except Exception as error:  # noqa: BLE001  # the edge of a thread
                self.fail(f"{name}: {error}")
                self.giving_up.set()
                _log.exception("thread.failed", extra={"in": name})

        return threading.Thread(target=guarded, name=name, daemon=True)


Outbox: TypeAlias = "queue.SimpleQueue[Scored | Refused | None]"  # None: nothing more comes


@dataclass(frozen=True)
class Post:
    """Everything between a worker's threads and between them and the line."""

    name: str
    link: Link
    work: Work
    controls: Controls
    telemetry: Telemetry
    tray: Tray
    rings: Rings
    archivist: FrameArchive | None = None  # None: nothing is archived
    outbox: Outbox = field(default_factory=queue.SimpleQueue)
    halt: Halt = field(default_factory=Halt)
    drift: DriftWatch = field(default_factory=DriftWatch)


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch and what the engine says of each of its frames."""

    batch: list[Held]
    rows: list[Row]
    started_ns: int  # UTC
    inference_ms: float
    serving: Serving  # whose engine it was
    limits: Limits  # in force when it was scored


@dataclass(frozen=True, slots=True)
class Refused:
    """Entries that are answered UNKNOWN."""

    entries: list[Entry]
    reason: Reason
    why: str
    frames: tuple[Held, ...] = ()  # of these entries, those whose pixels are in hand
