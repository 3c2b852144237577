"""What the scorer and the reader hand to the writer."""

import queue
from dataclasses import dataclass
from typing import TypeAlias

from pipeline.frames import Reason
from pipeline.judge import Limits, Row
from pipeline.streams.work import Entry
from pipeline.worker.serving import Serving
from pipeline.worker.tray import Held


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


Outbox: TypeAlias = "queue.SimpleQueue[Scored | Refused | None]"  # None: nothing more comes
