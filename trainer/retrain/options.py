"""What a retrain is asked to do, as plain values."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from engines.backends.tensorrt.api import PlanBackend
from trainer.choices import BackboneName
from trainer.progress import TerminalSteps
from trainer.retrain.learner import Learner, Task
from trainer.retrain.run import Point, Value

ModelName = Literal["protoad", "prn", "prn-s"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the candidate, besides the pictures and the incumbent."""

    model: ModelName = "prn-s"
    backbone: BackboneName = "efficientnet_lite0"
    weights: Path | None = None
    prototypes_only: bool = False
    minutes: float = 30.0  # of the whole run
    fit_steps: int | None = None  # train so many, however long it takes
    size: int = 256  # side of the input, pixels
    seed: int = 1
    false_reject_rate: float = 0.01
    max_normals: int = 2000
    textures: Path | None = None
    device: str = "auto"  # what trains
    start: Path | None = None  # a head to begin from, in place of the incumbent's
    plan: PlanBackend | None = None  # None: the ONNX file serves

    def settings(self) -> dict[str, Value]:
        """All of it as plain values, by which a run that was killed is recognised."""
        named = {name: getattr(self, name) for name in self.__slots__}
        return {
            name: str(value) if isinstance(value, Path) else value for name, value in named.items()
        }


@dataclass(frozen=True, slots=True)
class Redis:
    """Where the lines' Redis is and who asks."""

    url: str | None = None
    username: str | None = None
    password: str | None = None
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """Where everything lies, and how far a run goes."""

    store: Path
    registry: str
    runs: Path
    recipe: Recipe = field(default_factory=Recipe)
    lines: tuple[str, ...] = ()
    archive: Path | None = None
    redis: Redis = field(default_factory=Redis)
    collect_only: bool = False  # stop once the labels are in the store
    promote: bool = True  # False: stop after the gate
    allow_ungated: bool = False
    again: bool = False  # even where the same snapshot was tried before


@dataclass(frozen=True, slots=True)
class Seams:
    """What a run talks to besides files; a test gives its own."""

    steps: TerminalSteps
    say: Callable[[str], None]
    announce: Callable[[str], int]  # to a line; gives how many workers heard it
    learner: Callable[[Task], Learner] | None = None  # None: that of the recipe's model
    reached: Callable[[str, Point], None] = lambda _, __: None  # told of every stage, twice


@dataclass(frozen=True, slots=True)
class Ending:
    """How a retrain ended."""

    result: Literal["promoted", "refused", "stopped", "nothing new"]
    why: str
    run: Path | None = None
    version: str | None = None
