"""What an engine's latest verdicts were: what a swap compares."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.frames import Decision, Reason

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
