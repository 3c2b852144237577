"""A worker's post on a line: what its threads share."""

import queue
from dataclasses import dataclass, field

from pipeline.streams.control import Controls
from pipeline.streams.link import Link
from pipeline.streams.work import Work
from pipeline.telemetry import Telemetry
from pipeline.worker.archivist import Archivist
from pipeline.worker.drift_watch import DriftWatch
from pipeline.worker.halt import Halt
from pipeline.worker.outbox import Outbox
from pipeline.worker.tray import Tray
from pipeline.worker.unpack import Rings


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
    archivist: Archivist | None = None  # None: nothing is archived
    outbox: Outbox = field(default_factory=queue.SimpleQueue)
    halt: Halt = field(default_factory=Halt)
    drift: DriftWatch = field(default_factory=DriftWatch)
