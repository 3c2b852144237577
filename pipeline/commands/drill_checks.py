"""What the drill checks by itself: verdicts counted part by part, memory of its processes."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.commands.subprocesses import resident_mb
from pipeline.streams.result_reader import Result
from pipeline.wire import decode_identity, decode_judgement

SETTLED_S = 60.0  # after so long a process has reached its size


@dataclass
class VerdictCounter:
    """The verdicts of one camera's parts 0 to `frames` - 1, showing `variety` pictures in turn."""

    frames: int
    variety: int
    verdicts: Any = field(init=False)  # uint8 [frames]
    answers: Counter[str] = field(default_factory=Counter)
    scores: dict[int, set[float]] = field(default_factory=dict)  # picture -> scores said of it
    foreign: int = 0
    last_id: str = "-"

    def __post_init__(self) -> None:
        """Begin with no verdict for any part."""
        self.verdicts = np.zeros(self.frames, np.uint8)

    def add(self, result: Result) -> None:
        """Count one verdict."""
        self.last_id = result.result_id
        seq = decode_identity(result.header).seq if result.header else self.frames
        if seq >= self.frames:
            self.foreign += 1
            return
        self.verdicts[seq] += 1
        self.answers[result.answer] += 1
        if result.judgement is not None:
            score = decode_judgement(result.judgement).score
            self.scores.setdefault(seq % self.variety, set()).add(score)

    @property
    def answered(self) -> int:
        """Parts with at least one verdict."""
        return int(np.count_nonzero(self.verdicts))

    def broken(self) -> list[str]:
        """Say which promises did not hold."""
        missing = self.frames - self.answered
        repeated = int(np.count_nonzero(self.verdicts > 1))
        mixed = sum(len(said) > 1 for said in self.scores.values())
        faults = {
            "parts without a verdict": missing,
            "parts with two verdicts": repeated,
            "verdicts of no part": self.foreign,
            "pictures with different scores: verdicts were mixed up": mixed,
        }
        return [f"{count} {what}" for what, count in faults.items() if count]


@dataclass
class ProcessMemory:
    """Resident memory of one process over its life."""

    role: str
    pid: int
    since_s: float
    settled_mb: float = 0.0  # at most, in its first minute
    later_mb: float = 0.0  # at most, afterwards
    lived_s: float = 0.0

    @property
    def growth_mb(self) -> float | None:
        """How much larger it became after its first minute; None where it did not live on."""
        return self.later_mb - self.settled_mb if self.later_mb else None

    def sample(self, now_s: float) -> None:
        """Take one sample."""
        resident = resident_mb(self.pid)
        if resident == 0:
            return
        self.lived_s = now_s - self.since_s
        if self.lived_s < SETTLED_S:
            self.settled_mb = max(self.settled_mb, resident)
        else:
            self.later_mb = max(self.later_mb, resident)
