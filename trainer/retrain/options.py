"""What a retrain talks to, and how it ends."""

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
    """What a run talks to besides files; a test gives its own."""

    steps: TerminalSteps
    say: Callable[[str], None]
    announce: Callable[[str], int]  # to a line; gives how many workers heard it
    labels: Callable[[str], LabelBook] = LabelBook  # of a line
    learner: Callable[[Task], Learner] | None = None  # None: that of the recipe's model
    reached: Callable[[str, StageEvent], None] = lambda _, __: None  # told of every stage, twice


@dataclass(frozen=True, slots=True)
class RetrainResult:
    """How a retrain ended."""

    result: Literal["promoted", "refused", "stopped", "nothing new"]
    why: str
    run: Path | None = None
    version: str | None = None
