"""The engine in force with its recent verdicts, and the one before it, kept warm."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

from engines.admission.timing import CostCurve
from engines.engine import Engine
from engines.manifest import Thresholds
from pipeline.frames import Decision, EngineName, Reason
from pipeline.worker.in_flight import Held
from pipeline.worker.judge import Limits, Row

KEPT = 500  # verdicts, and times of batches
_OF_THE_ENGINE = frozenset({Decision.OK, Decision.NG, Reason.LATE, Reason.ENGINE})


@dataclass(frozen=True, slots=True)
class Figures:
    """Verdicts of one engine, counted."""

    frames: int
    ng: int
    unknown: int  # LATE or ENGINE
    paces: tuple[float, ...]  # of batches: measured time by what the cost curve expects


class Record:
    """The latest verdicts of one engine; written by the writer, read by the swap.

    SHED and UNREADABLE are left out: they say nothing of an engine.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._answers: deque[str] = deque(maxlen=kept)
        self._costs: deque[tuple[int, float]] = deque(maxlen=kept)
        self.verdicts = 0  # since the record began

    def answered(self, answer: str) -> None:
        """Note one verdict: what was published, "" where the frame was answered before."""
        answer = answer or Reason.LATE  # somebody else had to answer it
        if answer in _OF_THE_ENGINE:
            self._answers.append(answer)
            self.verdicts += 1

    def scored(self, frames: int, took_ms: float) -> None:
        """Note how long a batch took on the engine."""
        self._costs.append((frames, took_ms))

    def begin_anew(self) -> None:
        """Forget what was noted."""
        self._answers.clear()
        self._costs.clear()
        self.verdicts = 0

    def figures(self, pace: Callable[[int, float], float]) -> Figures:
        """Count the verdicts kept; `pace` says what a batch's time amounts to."""
        answers = tuple(self._answers)
        ng = answers.count(Decision.NG)
        ok = answers.count(Decision.OK)
        paces = tuple(pace(frames, took_ms) for frames, took_ms in tuple(self._costs))
        return Figures(len(answers), ng, len(answers) - ng - ok, paces)


@dataclass(frozen=True, slots=True)
class Serving:
    """What changes together, between two batches. Owns its engines."""

    name: EngineName
    thresholds: Thresholds
    lanes: tuple[Engine, ...]
    curve: CostCurve
    max_batch: int  # frames worth scoring together
    version: str = ""  # in the registry; "" for an engine file that was named by hand
    record: Record = field(default_factory=Record)

    def close(self) -> None:
        """Free the engines."""
        for engine in reversed(self.lanes):
            engine.close()


class Shadow(Protocol):
    """Gets what lanes have just scored."""

    def offer(self, batch: list[Held], rows: list[Row], limits: Limits) -> None:
        """Take what is wanted of a batch; must not keep a lane waiting."""
        ...


class InForce:
    """Which engine judges; each lane asks once a batch, under its turn."""

    def __init__(self, first: Serving) -> None:
        self.serving = first
        self.lanes = len(first.lanes)  # that the worker runs, whatever comes after
        self.shadow: Shadow | None = None
        self.before: Serving | None = None  # still warm
        self._on_probation = False  # the newcomer goes back at the first sign of trouble
        self._trouble = ""
        self._changing = threading.Lock()

    def room(self) -> int:
        """How many entries a worker holds: batches on the engine, one ready, a few on their way."""
        serving = self.serving
        return (min(self.lanes, len(serving.lanes)) + 1) * serving.max_batch + 2

    def take(self, newcomer: Serving, *, on_probation: bool) -> Serving:
        """Let `newcomer` judge from the next batch on; the incumbent stays warm.

        Whoever calls has dropped `before`, unless that is the newcomer.

        Returns: the newcomer as it judges, with a record of its own.
        """
        with self._changing:
            fresh = replace(newcomer, record=Record())
            self.before, self.serving = self.serving, fresh
            self._on_probation, self._trouble = on_probation, ""
            return fresh

    def prove(self, newcomer: Serving) -> bool:
        """End the newcomer's probation: it stays; False where it judges no more."""
        with self._changing:
            if self.serving is not newcomer:
                return False
            self._on_probation = False
            return True

    def go_back(self, failing: Serving, why: str) -> bool:
        """Let the old engine judge again from the next batch on, if the newcomer is on probation.

        A lane calls it whose engine is gone, or the swap whose band it left.

        Returns: whether `failing` judges no more.
        """
        with self._changing:
            if self.serving is not failing:
                return True
            if not self._on_probation or self.before is None:
                return False
            self.before, self.serving = self.serving, self.before
            self._on_probation, self._trouble = False, why
            return True

    def trouble(self) -> str:
        """Why the latest newcomer was sent back; "" where it was not."""
        return self._trouble

    def drop_before(self, no_lane_uses_it: Callable[[], None]) -> None:
        """Close the engine that is kept warm, once no lane is at it any more."""
        with self._changing:
            dropped, self.before = self.before, None
        if dropped is not None:
            no_lane_uses_it()
            dropped.close()

    def close(self) -> None:
        """Free every engine."""
        for serving in (self.before, self.serving):
            if serving is not None:
                serving.close()
