"""The interface of a kind of network to a retrain: separate steps, so that a run can resume.

A learner keeps costly results in memory while its process lives, and writes what a later process
needs to `network.safetensors`. Every step works in a process that did no earlier step.
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

Facts = dict[str, str | int | float | bool | None]  # a stage's results, as JSON


@dataclass(frozen=True, slots=True)
class Task:
    """What to learn from, and the folder of the run."""

    dataset: Dataset  # to learn from; name and pictures of the snapshot
    folder: Path  # of the run
    steps: TerminalSteps
    recipe: CandidateRecipe
    start: StartWeights | None  # the incumbent's head, or the one that the recipe names


class Learner(Protocol):
    """Makes an engine file in steps."""

    def make_prototypes(self) -> Prototypes:
        """Make prototypes of the normal pictures, and save the network with them."""
        ...

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        """Train for at most `seconds`; `worked` is called now and then."""
        ...

    def calibrate(self) -> Thresholds:
        """Find the thresholds on held-out pictures."""
        ...

    def export(self, thresholds: Thresholds) -> Path:
        """Write the engine file, its manifest and related files; returns its path."""
        ...

    def extra_files(self) -> tuple[Path, ...]:
        """Return the files that go into the registry with the engine."""
        ...
