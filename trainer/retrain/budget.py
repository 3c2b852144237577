"""How much of a run's minutes is left to train with."""

from collections.abc import Mapping

from trainer.errors import BudgetError

LEAST_FIT_S = 20.0
# what stages after the training take, seconds, until a run has measured it
_GUESSED_S = {"calibrate": 10.0, "export": 45.0, "build": 1.0, "admit": 45.0, "gate": 20.0}
AFTER_FIT = ("calibrate", "export", "build", "admit", "gate", "register", "promote", "announce")


def fit_seconds(
    minutes: float, worked_s: float, measured: Mapping[str, float], *, begun: bool = False
) -> float:
    """Seconds to train: what is left of `minutes` but for the stages that come after.

    Args:
        minutes: of the whole run.
        worked_s: seconds spent so far.
        measured: seconds of stages in an earlier run, by name.
        begun: whether a training is there to go on with: in no time it cools down and ends.

    Raises:
        BudgetError: too little is left to begin.
    """
    after = sum(measured.get(name, _GUESSED_S.get(name, 5.0)) for name in AFTER_FIT)
    left = max(0.0, 60 * minutes - worked_s - after)
    if left < LEAST_FIT_S and not begun:
        raise BudgetError(
            f"--minutes {minutes:g} leaves {left:.0f} s to train: {worked_s:.0f} s are "
            f"spent and {after:.0f} s are needed afterwards; give more minutes, or "
            "--prototypes-only, which trains nothing"
        )
    return left
