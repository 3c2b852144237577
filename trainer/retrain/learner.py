"""What a retrain asks of a kind of network, each step of it by itself so that a run can resume.

A learner keeps what is costly in memory while its process lives, and in `network.safetensors` what
a later process needs; every step can be asked for in a process that did none before it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from engines.manifest import Thresholds
from trainer.dataset import Dataset
from trainer.progress import TerminalSteps
from trainer.retrain.prototype_diff import Prototypes
from trainer.retrain.weights import StartWeights
from trainer.retrain_settings import CandidateRecipe

Facts = dict[str, str | int | float | bool | None]  # what a stage tells, as JSON


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be learned, and where the run lies."""

    dataset: Dataset  # to learn from; its name and pictures are those of the snapshot
    folder: Path  # of the run
    steps: TerminalSteps
    recipe: CandidateRecipe
    start: StartWeights | None  # the incumbent's head, or the one that the recipe names


class Learner(Protocol):
    """Makes an engine file in steps."""

    def make_prototypes(self) -> Prototypes:
        """Make prototypes of the normal pictures, and keep the network that has them."""
        ...

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        """Train for so many seconds at most; `worked` is called now and then while it does."""
        ...

    def calibrate(self) -> Thresholds:
        """Find the thresholds on held-out pictures."""
        ...

    def export(self, thresholds: Thresholds) -> Path:
        """Write the engine file, its manifest and what belongs to it; gives its path."""
        ...

    def extra_files(self) -> tuple[Path, ...]:
        """Name the files that go into the registry with the engine."""
        ...
