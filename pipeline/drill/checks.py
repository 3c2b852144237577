"""What the drill checks by itself: verdicts counted part by part, memory of its processes."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.commands.subprocesses import resident_mb
from pipeline.frames import Decision
from pipeline.streams.result_reader import Result
from pipeline.wire import decode_identity, decode_judgement

SETTLED_S = 60.0  # after so long a process has reached its size
LONGEST_WAIT_MS = 10_000.0  # of a frame for its verdict, while Redis is up
Interval = tuple[float, float]  # UTC, milliseconds


@dataclass
class VerdictCounter:
    """The verdicts of one camera's parts 0 to `frames` - 1, showing pictures in turn.

    `expected` says of each picture what the engine decides; a verdict that says anything else, or
    that has another score than the picture's earlier ones, was made from another part's pixels.
    """

    frames: int
    expected: list[Decision]
    verdicts: Any = field(init=False)  # uint8 [frames]
    answers: Counter[str] = field(default_factory=Counter)
    scores: dict[int, set[float]] = field(default_factory=dict)  # picture -> scores said of it
    waits: list[Interval] = field(default_factory=list)  # admission and verdict of the slow ones
    wrong: int = 0  # OK for a bad part, or NG for a good one
    foreign: int = 0
    last_seq: int = -1  # the highest that was answered
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
        self.last_seq = max(self.last_seq, seq)
        self.answers[result.answer] += 1
        wait = _ms(result.entry_id), _ms(result.result_id)
        if wait[1] - wait[0] >= LONGEST_WAIT_MS / 2:
            self.waits.append(wait)
        picture = seq % len(self.expected)
        if result.judgement is None:
            return
        score = decode_judgement(result.judgement).score
        self.scores.setdefault(picture, set()).add(score)
        if result.answer in set(Decision) and result.answer != self.expected[picture]:
            self.wrong += 1

    @property
    def answered(self) -> int:
        """Parts with at least one verdict."""
        return int(np.count_nonzero(self.verdicts))

    def missing(self) -> list[int]:
        """Return the parts without a verdict."""
        return [int(seq) for seq in np.flatnonzero(self.verdicts == 0)]

    def longest_wait_ms(self, outages: Iterable[Interval]) -> float:
        """Return the longest wait for a verdict, without the time that Redis was away.

        Zero where none took half of what is allowed.
        """
        away = list(outages)
        return max((_without(wait, away) for wait in self.waits), default=0.0)

    def slowest(self, outages: Iterable[Interval]) -> list[Interval]:
        """Return when the frames came that waited longest, and when their verdicts, at most 3."""
        away = list(outages)
        return sorted(self.waits, key=lambda wait: -_without(wait, away))[:3]

    def broken(self, outages: Iterable[Interval] = ()) -> list[str]:
        """Return which promises did not hold."""
        waits = [_without(wait, away) for away in [list(outages)] for wait in self.waits]
        faults = {
            "parts without a verdict": self.frames - self.answered,
            "parts with two verdicts": int(np.count_nonzero(self.verdicts > 1)),
            "verdicts of no part": self.foreign,
            "verdicts that are wrong for the part": self.wrong,
            "pictures with different scores: verdicts were mixed up": sum(
                len(said) > 1 for said in self.scores.values()
            ),
            f"verdicts later than {LONGEST_WAIT_MS / 1000:.0f} s after admission, Redis up": sum(
                wait >= LONGEST_WAIT_MS for wait in waits
            ),
        }
        return [f"{count} {what}" for what, count in faults.items() if count]


def _ms(entry_id: str) -> float:
    """When Redis made an entry, UTC, milliseconds."""
    return float(entry_id.partition("-")[0] or 0)


def _without(wait: Interval, away: list[Interval]) -> float:
    """Return how long a wait lasted outside all intervals, which do not overlap."""
    began, ended = wait
    lost = sum(max(0.0, min(ended, until) - max(began, since)) for since, until in away)
    return ended - began - lost


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
