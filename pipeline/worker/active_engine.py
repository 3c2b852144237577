"""The engine in force with its recent verdicts, and the one before it, kept warm."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

from engines.admission.timing import CostCurve
from engines.engine import Engine
from engines.manifest import Thresholds
from pipeline.frames import Decision, EngineName, Reason
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.judge import DecisionThresholds, FrameScore

if TYPE_CHECKING:  # few engines have zones
    from engines.zones.schema import ZoneSet

VERDICTS_KEPT = 500  # verdicts, and times of batches
_OF_THE_ENGINE = frozenset({Decision.OK, Decision.NG, Reason.LATE, Reason.ENGINE})


@dataclass(frozen=True, slots=True)
class VerdictCounts:
    """Verdicts of one engine, counted."""

    frames: int
    ng: int
    unknown: int  # LATE or ENGINE
    time_ratios: tuple[float, ...]  # of batches: measured time by what the cost curve expects


class RecentVerdicts:
    """The latest verdicts of one engine; written by the writer, read by the swap.

    SHED and UNREADABLE are left out: they say nothing of an engine.
    """

    def __init__(self, kept: int = VERDICTS_KEPT) -> None:
        self._answers: deque[str] = deque(maxlen=kept)
        self._costs: deque[tuple[int, float]] = deque(maxlen=kept)
        self.total = 0  # since the record began

    def add_verdict(self, answer: str) -> None:
        """Note one verdict: what was published, "" where the frame was answered before."""
        answer = answer or Reason.LATE  # somebody else had to answer it
        if answer in _OF_THE_ENGINE:
            self._answers.append(answer)
            self.total += 1

    def add_batch(self, frames: int, took_ms: float) -> None:
        """Note how long a batch took on the engine."""
        self._costs.append((frames, took_ms))

    def clear(self) -> None:
        """Forget what was noted."""
        self._answers.clear()
        self._costs.clear()
        self.total = 0

    def counts(self, time_ratio: Callable[[int, float], float]) -> VerdictCounts:
        """Count the verdicts kept; `time_ratio` says what a batch's time amounts to."""
        answers = tuple(self._answers)
        ng = answers.count(Decision.NG)
        ok = answers.count(Decision.OK)
        ratios = tuple(time_ratio(frames, took_ms) for frames, took_ms in tuple(self._costs))
        return VerdictCounts(len(answers), ng, len(answers) - ng - ok, ratios)


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    """What changes together, between two batches. Owns its engines."""

    name: EngineName
    thresholds: Thresholds
    lanes: tuple[Engine, ...]
    curve: CostCurve
    max_batch: int  # frames worth scoring together
    version: str = ""  # in the registry; "" for an engine file that was named by hand
    recent: RecentVerdicts = field(default_factory=RecentVerdicts)
    peak_threshold: float | None = None  # on the highest value of maps, where zones judge
    zones: "ZoneSet | None" = None  # that it was trained with

    def close(self) -> None:
        """Free the engines."""
        for engine in reversed(self.lanes):
            engine.close()


class Shadow(Protocol):
    """Gets what lanes have just scored."""

    def offer(
        self,
        batch: list[InFlightFrame],
        frame_scores: list[FrameScore],
        thresholds: DecisionThresholds,
    ) -> None:
        """Take what is wanted of a batch; must not keep a lane waiting."""
        ...


class ActiveEngine:
    """Which engine judges; each lane asks once a batch, under its turn."""

    def __init__(self, first: LoadedEngine) -> None:
        self.current = first
        self.lanes = len(first.lanes)  # that the worker runs, whatever comes after
        self.shadow: Shadow | None = None
        self.previous: LoadedEngine | None = None  # still warm
        self._on_probation = False  # the candidate goes back at the first sign of trouble
        self._failure = ""
        self._changing = threading.Lock()

    def capacity(self) -> int:
        """How many entries a worker holds: batches on the engine, one ready, a few on their way."""
        loaded = self.current
        return (min(self.lanes, len(loaded.lanes)) + 1) * loaded.max_batch + 2

    def activate(self, candidate: LoadedEngine, *, on_probation: bool) -> LoadedEngine:
        """Judge with `candidate` from the next batch on; the incumbent stays warm.

        Whoever calls has dropped `previous`, unless that is the candidate.

        Returns: the candidate as it judges, with a record of its own.
        """
        with self._changing:
            active = replace(candidate, recent=RecentVerdicts())
            self.previous, self.current = self.current, active
            self._on_probation, self._failure = on_probation, ""
            return active

    def accept(self, candidate: LoadedEngine) -> bool:
        """End the candidate's probation: it stays; False where it judges no more."""
        with self._changing:
            if self.current is not candidate:
                return False
            self._on_probation = False
            return True

    def roll_back(self, failing: LoadedEngine, why: str) -> bool:
        """Judge with the old engine again from the next batch on, if the candidate is on probation.

        A lane calls it whose engine is gone, or the swap whose band it left.

        Returns: whether `failing` judges no more.
        """
        with self._changing:
            if self.current is not failing:
                return True
            if not self._on_probation or self.previous is None:
                return False
            self.previous, self.current = self.current, self.previous
            self._on_probation, self._failure = False, why
            return True

    def failure(self) -> str:
        """Why the latest candidate was sent back; "" where it was not."""
        return self._failure

    def close_previous(self, no_lane_uses_it: Callable[[], None]) -> None:
        """Close the engine that is kept warm, once no lane is at it any more."""
        with self._changing:
            dropped, self.previous = self.previous, None
        if dropped is not None:
            no_lane_uses_it()
            dropped.close()

    def close(self) -> None:
        """Free every engine."""
        for loaded in (self.previous, self.current):
            if loaded is not None:
                loaded.close()
