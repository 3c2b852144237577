"""How long a training lasts, and the learning rate at each of its steps."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

WARM_UP_SHARE = 0.05  # of all steps
_LEAST_SHARE = 0.01  # of the learning rate, that the cosine ends at
_UNTIMED = 2  # first steps, which pay for what is allocated once
_TIMED = 5


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a training may take."""

    amount: float
    unit: Literal["steps", "minutes"]

    def steps(self, seconds_per_step: Callable[[], float]) -> int:
        """Turn it into steps; `seconds_per_step` is asked for minutes only."""
        if self.unit == "steps":
            return max(1, int(self.amount))
        return max(1, int(60 * self.amount / seconds_per_step()))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Warm-up and cosine over a fixed number of steps, or until it is cut short.

    A training that stops by itself is not left at a high rate: from `cut` on the rate falls
    linearly from where it was, and the training ends `cool_down` steps later.
    """

    total: int
    cool_down: int
    cut: int | None = None  # step at which it was decided to stop

    @property
    def end(self) -> int:
        """The number of steps."""
        return self.total if self.cut is None else min(self.total, self.cut + self.cool_down)

    def share(self, step: int) -> float:
        """The learning rate at `step`, from 0, as a share of the highest one."""
        if self.cut is None or step < self.cut:
            return self._planned(step)
        left = 1 - (step - self.cut) / self.cool_down
        return self._planned(self.cut) * max(left, _LEAST_SHARE)

    def _planned(self, step: int) -> float:
        warm_up = max(1, round(WARM_UP_SHARE * self.total))
        if step < warm_up:
            return (step + 1) / warm_up
        done = (step - warm_up) / max(1, self.total - warm_up)
        return _LEAST_SHARE + (1 - _LEAST_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


def time_steps(take_step: Callable[[int], object], clock: Callable[[], float]) -> float:
    """Median seconds of a step, measured on a few that the caller throws away afterwards."""
    seconds = []
    for step in range(_UNTIMED + _TIMED):
        started = clock()
        take_step(step)
        seconds.append(clock() - started)
    return sorted(seconds[_UNTIMED:])[_TIMED // 2]
