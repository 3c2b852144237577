"""A retrain's dependencies and its result."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.labels import LabelBook
from trainer.progress import TerminalSteps
from trainer.retrain.learner import Learner, Task
from trainer.retrain.run import StageEvent


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a run uses besides files; a test passes its own."""

    steps: TerminalSteps
    say: Callable[[str], None]
    announce: Callable[[str], int]  # to a line; returns how many workers heard it
    labels: Callable[[str], LabelBook] = LabelBook  # of a line
    learner: Callable[[Task], Learner] | None = None  # None: that of the recipe's model
    reached: Callable[[str, StageEvent], None] = lambda _, __: None  # called twice for every stage


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """How a retrain ended."""

    result: Literal["promoted", "refused", "stopped", "nothing new"]
    why: str
    run: Path | None = None
    version: str | None = None
