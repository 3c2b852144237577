"""Training of the demo's models, which parts they may not be tested with, and their comparison."""

import json
import shutil
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from engines.manifest import read_manifest
from pipeline.camera.sources.folder import list_pictures
from pipeline.commands.subprocesses import ProcessGroup
from pipeline.demo.summary import GOOD, RunSummary
from pipeline.errors import SettingsError

ModelName = Literal["protoad", "prn-s"]
TITLES: dict[ModelName, str] = {"protoad": "ProtoAD", "prn-s": "PRN-S"}
_LEARN_WAIT_S = 3600.0  # one that hangs ends; a slow machine has time
_CHECKPOINT = "checkpoint.safetensors"  # the trainer's names
_SEEN = "seen.json"
_PIXEL_FIGURES = {"pixel AUROC": "auroc", "PRO": "pro", "pixel AP": "ap"}


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """How a model was learned."""

    model: ModelName
    engine: Path
    seconds: float
    good: int  # parts
    seen: frozenset[str]  # defects, by their names in the folder of pictures

    @property
    def title(self) -> str:
        """The model's name, for people."""
        return TITLES[self.model]

    @property
    def sources(self) -> str:
        """What it was learned from, for people."""
        defects = f" and {len(self.seen)} defects with their masks" if self.seen else " alone"
        return f"{self.good} good parts{defects}"

    @property
    def clock(self) -> str:
        """How long learning took, minutes and seconds, for a table."""
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{minutes}:{seconds:02d}"

    @property
    def duration(self) -> str:
        """How long that took, for people."""
        minutes, seconds = divmod(round(self.seconds), 60)
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def train_model(
    processes: ProcessGroup, model: ModelName, data: Path, folder: Path, *flags: str
) -> TrainedModel:
    """Learn anew with `trainer-train`, whose progress is shown.

    Args:
        processes: starts it.
        model: what to learn.
        data: pictures in MVTec layout.
        folder: gets the engine; a checkpoint in it is removed, for a training would go on there.
        flags: more of `trainer-train`'s.

    Raises:
        ProcessFailed: it ended badly; it has said why.
    """
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    began_s = time.monotonic()
    named = ("--model", model, "--data", str(data), "--out", str(folder))
    processes.start(f"train-{model}", "trainer-train", *named, *flags, show=True).wait(
        _LEARN_WAIT_S
    )
    seconds = time.monotonic() - began_s
    engine = folder / f"{model}.onnx"
    snapshot = read_manifest(engine).snapshot
    return TrainedModel(model, engine, seconds, snapshot.normals if snapshot else 0, _seen(folder))


def leave_out(data: Path, seen: Collection[str], folder: Path) -> Path:
    """Return the data without the test parts that a model has seen: links in `folder`, made anew.

    Raises:
        SettingsError: nothing is left to test with.
    """
    if not seen:
        return data
    if folder.exists():
        shutil.rmtree(folder)  # links go, what they lead to stays
    names = [f"test/{name}" for name in list_pictures(data / "test")]
    left = [name for name in names if name not in seen]
    if not left:
        raise SettingsError(f"{data} has no test parts but the {len(seen)} that were learned from")
    for name in left:
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to((data / name).resolve())
    for whole in ("train", "ground_truth"):
        (folder / whole).symlink_to((data / whole).resolve())
    return folder


def _seen(folder: Path) -> frozenset[str]:
    path = folder / _SEEN
    record = json.loads(path.read_text("utf-8")) if path.exists() else {"pictures": {}}
    return frozenset(record["pictures"])


@dataclass(frozen=True, slots=True)
class EvaluatedModel:
    """A model and its figures."""

    trained: TrainedModel
    figures: dict[str, float]  # 0..1, by the field's names
    missed: str  # defects at its threshold, `1 of 50`
    rejected: str  # good parts, likewise

    def cells(self) -> dict[str, str]:
        """What stands in a table's row, by the column's title."""
        return {
            "model": self.trained.title,
            "learned in": self.trained.clock,
            **{name: f"{100 * share:.2f}" for name, share in self.figures.items()},
            "missed": self.missed,
            "false rejects": self.rejected,
        }


def evaluated_model(trained: TrainedModel, evaluation: dict[str, Any]) -> EvaluatedModel:
    """Pick what models are compared by out of `trainer-evaluate --json`."""
    found = {"image AUROC": evaluation["image_auroc"]}
    pixel = evaluation["pixel"] or {}  # there may be no masks
    found |= {name: pixel.get(key) for name, key in _PIXEL_FIGURES.items()}
    figures = {name: float(value) for name, value in found.items() if value is not None}
    plant = evaluation["plant"]
    missed, rejected = (
        f"{plant[key]['count']} of {plant[key]['of']}" for key in ("escapes", "false_rejects")
    )
    return EvaluatedModel(trained, figures, missed, rejected)


def counted_model(trained: TrainedModel, summary: RunSummary) -> EvaluatedModel:
    """Return a model with what its verdicts alone say of it, before it is evaluated."""
    defects = sum(kind.parts for kind in summary.kinds if kind.name != GOOD)
    misses = sum(kind.misses for kind in summary.kinds)
    rejects = sum(kind.false_rejects for kind in summary.kinds)
    good = summary.parts - defects
    return EvaluatedModel(trained, {}, f"{misses} of {defects}", f"{rejects} of {good}")


def show_comparison(models: Sequence[EvaluatedModel], console: Console) -> None:
    """Print a row for each; the first one's figures are the columns."""
    rows = [model.cells() for model in models]
    table = Table(title="figures of these parts, in %", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
