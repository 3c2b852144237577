"""Stages done one after the other, each once: a run that was killed goes on behind the last one."""

import time
from collections.abc import Callable
from typing import Any

from trainer.errors import StageError
from trainer.retrain.options import Point
from trainer.retrain.run_folder import RunFolder

Outcome = dict[str, Any]


class Stages:
    """Does the stages of one run, which this process began at `started` on the clock, seconds."""

    def __init__(
        self,
        run: RunFolder,
        say: Callable[[str], None],
        reached: Callable[[str, Point], None],
        started: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.say = say
        self._reached = reached
        self._clock = clock
        self._before_s = run.worked_s
        self._started = started

    @property
    def worked_s(self) -> float:
        """Seconds spent on this run, by earlier processes too."""
        return self._before_s + self._clock() - self._started

    def note_worked(self) -> None:
        """Remember the time spent, so that a process that goes on keeps the budget."""
        self.run.note_worked(self.worked_s)

    def do(self, name: str, work: Callable[[], Outcome]) -> Outcome:
        """Do a stage, or give what it found before.

        Raises:
            StageError: it could not write or read.
        """
        found = self.run.outcome(name)
        if found is not None:
            self.say(f"{name}: done before")
            return found
        started = self._clock()
        try:
            outcome = work()
            self._reached(name, "worked")
            outcome = {**outcome, "seconds": round(self._clock() - started, 3)}
            self.run.keep(name, outcome)
            self.note_worked()
        except OSError as error:
            raise StageError(
                f"stage {name}: {error}; the stages before it are kept in {self.run.folder}: make "
                "room or mend it, then start trainer-retrain again, it goes on from there"
            ) from error
        self.say(f"{name}: {outcome.get('said', 'done')}")
        self._reached(name, "kept")
        return outcome
