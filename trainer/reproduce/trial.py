"""One training of a table and its figures, kept in a file: a table that was stopped goes on."""

import hashlib
from pathlib import Path
from typing import Literal

import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from engines.engine import Engine
from engines.files import read_file, write_atomic
from engines.open import open_engine
from trainer.dataset import Dataset, Sample, load_pictures
from trainer.errors import CheckpointError
from trainer.networks.backbones import Backbone
from trainer.networks.prn import Encoder
from trainer.progress import TerminalSteps
from trainer.prototypes.normals import learn_normals
from trainer.prototypes.whole_maps import CPU
from trainer.reproduce.rows import FourMetrics
from trainer.results.evaluation import Evaluation, evaluate, score_pictures
from trainer.results.metrics import PixelFigures
from trainer.results.patchcore import ResidualMap
from trainer.seen import apart_from, draw_seen, load_seen
from trainer.training.prn.data import SupervisedRecipe
from trainer.training.prn.training import engine_path, learn_prn, write_prn
from trainer.training.protoad import (
    ENGINE_NAME,
    ProtoAdRecipe,
    drawn,
    learn,
    set_determinism,
    write_learned,
)

RESULT_NAME = "result.json"
MAX_RESULT_BYTES = 1 << 20
_HELD_OUT_SHARE = 0.2  # of the normal pictures, for ProtoAD
BaselineName = Literal["ProtoAD", "untrained residual map"]
BASELINES: tuple[BaselineName, ...] = ("untrained residual map", "ProtoAD")


class TrialResult(BaseModel):
    """The figures of one training on one dataset with one seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    configuration: dict[str, str | int | float | bool | None]  # all that decided it
    figures: FourMetrics
    apart: FourMetrics | None  # of the defects unlike every seen one
    escapes: int | None  # None: no threshold
    defects: int
    false_rejects: int | None
    normals: int
    steps: int | None = None  # of the training


def run_trial(
    dataset: Dataset,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: TerminalSteps,
    device: torch.device = CPU,
    weights: Path | None = None,
) -> TrialResult:
    """Train PRN and judge it, or read what was found before.

    Raises:
        CheckpointError: `folder` holds the result of another training.
        DatasetError: too few pictures, or defects that cannot be learned from.
    """
    configuration = _about(dataset) | recipe.configuration()
    found = read_result(folder, configuration)
    if found is not None:
        return found
    set_determinism(recipe.seed)
    show = steps.training()
    learned = learn_prn(
        dataset,
        backbone,
        recipe,
        folder,
        steps,
        lambda step: show(step.done, step.end, f"loss {step.loss:.4f}", step.seconds_left),
        device,
        weights,
    )
    write_prn(folder, dataset, learned, recipe, steps)
    with open_engine(engine_path(folder, recipe.plan), "auto", "cpu") as opened:
        limits = opened.manifest.thresholds
        seen = learned.training_data.samples
        rest = apart_from(learned.rest, seen)
        evaluation = _judged(opened.engine, rest, seen, recipe, (limits.image, limits.pixel), steps)
    return _keep(folder, configuration, evaluation, learned.fitted.steps)


def run_baseline(
    name: BaselineName,
    dataset: Dataset,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: TerminalSteps,
) -> TrialResult:
    """Judge what needs no training, on the pictures that a training of `recipe` is judged on.

    Raises:
        CheckpointError: `folder` holds the result of something else.
    """
    configuration = _about(dataset) | {
        "baseline": name,
        "backbone": recipe.backbone,
        "size": str(recipe.size),
        "seed": recipe.seed,
        "seen": recipe.seen,
        "leave_out": str(recipe.leave_out),
        "max_normals": recipe.max_normals,
        "false_reject_rate": recipe.false_reject_rate,
        "prototype_share": recipe.prototype_share,
    }
    found = read_result(folder, configuration)
    if found is not None:
        return found
    set_determinism(recipe.seed)
    seen, rest = draw_seen(dataset, recipe.seen, recipe.seed, recipe.leave_out)
    rest = apart_from(rest, seen)
    if name == "ProtoAD":
        evaluation = _proto_ad(rest, seen, backbone, recipe, folder, steps)
        return _keep(folder, configuration, evaluation, None)
    engine = _residual_map(dataset, backbone, recipe, folder, steps)
    nothing_known = (float("inf"), float("inf"))
    evaluation = _judged(engine, rest, seen, recipe, nothing_known, steps)
    return _keep(folder, configuration, evaluation, None)


def read_result(
    folder: Path, configuration: dict[str, str | int | float | bool | None]
) -> TrialResult | None:
    """Read what was kept in `folder`; None where there is nothing.

    Raises:
        CheckpointError: it is of another configuration, or unreadable.
    """
    path = folder / RESULT_NAME
    if not path.exists():
        return None
    try:
        found = TrialResult.model_validate_json(read_file(path, MAX_RESULT_BYTES))
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror or error}: move it away") from error
    except ValidationError as error:
        faults = error.error_count()
        raise CheckpointError(f"{path} is no result ({faults} faults): move it away") from error
    other = sorted(
        name
        for name in found.configuration.keys() | configuration.keys()
        if found.configuration.get(name) != configuration.get(name)
    )
    if other:
        raise CheckpointError(
            f"{path} was found with another {', '.join(other)}: give another --out, or the same "
            "flags as before"
        )
    return found


def _about(dataset: Dataset) -> dict[str, str | int | float | bool | None]:
    return {
        "dataset": dataset.name,
        "normal_pictures": len(dataset.normals),
        "test_pictures": len(dataset.test),
        "groups": _groups(dataset),
    }


def _groups(dataset: Dataset) -> str | None:
    """Hash the named groups of a dataset; None without any."""
    every = (*dataset.normals, *dataset.defects, *dataset.test)
    named = sorted(f"{sample.name}\0{sample.group}\n" for sample in every if sample.group)
    return hashlib.sha256("".join(named).encode()).hexdigest() if named else None


def _keep(
    folder: Path,
    configuration: dict[str, str | int | float | bool | None],
    evaluation: Evaluation,
    steps: int | None,
) -> TrialResult:
    plant = evaluation.plant
    judged = evaluation.threshold < float("inf")
    apart = evaluation.apart
    result = TrialResult(
        configuration=configuration,
        figures=_four(evaluation.image_auroc, evaluation.pixel),
        apart=_four(apart.image_auroc, apart.pixel) if apart and apart.pictures else None,
        escapes=plant.escapes.count if judged else None,
        defects=plant.escapes.of,
        false_rejects=plant.false_rejects.count if judged else None,
        normals=plant.false_rejects.of,
        steps=steps,
    )
    write_atomic(folder / RESULT_NAME, result.model_dump_json(indent=2).encode())
    return result


def _judged(
    engine: Engine,
    rest: Dataset,
    seen: tuple[Sample, ...],
    recipe: SupervisedRecipe,
    limits: tuple[float, float],
    steps: TerminalSteps,
) -> Evaluation:
    """Judge the test pictures that are not among the seen ones, at image and pixel thresholds."""
    with steps.step("judging", len(rest.test)) as advance:
        pictures = load_pictures(rest.test, recipe.size)
        scored = score_pictures(engine, pictures, advance)
    return evaluate(scored, *limits, load_seen(seen, recipe.size).masks)


def _proto_ad(
    rest: Dataset,
    seen: tuple[Sample, ...],
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: TerminalSteps,
) -> Evaluation:
    own = ProtoAdRecipe(
        recipe.size, recipe.seed, recipe.false_reject_rate, _HELD_OUT_SHARE, recipe.max_normals
    )
    learned = learn(rest, backbone, own, steps)
    write_learned(folder, rest.name, learned, own, recipe.backbone, steps)
    with open_engine(folder / ENGINE_NAME, "auto", "cpu") as opened:
        limits = opened.manifest.thresholds
        return _judged(opened.engine, rest, seen, recipe, (limits.image, limits.pixel), steps)


def _residual_map(
    dataset: Dataset,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: TerminalSteps,
) -> ResidualMap:
    samples = drawn(dataset.normals, recipe.max_normals, recipe.seed)
    with steps.step("clustering normal parts", len(samples)) as advance:
        pixels = load_pictures(samples, recipe.size).pixels
        encoder = Encoder(backbone).eval()
        share = recipe.prototype_share
        normals = learn_normals(encoder, pixels, folder, recipe.seed, advance, share)
    return ResidualMap(backbone, normals.prototypes, recipe.size)


def _four(image_auroc: float, pixel: PixelFigures) -> FourMetrics:
    return FourMetrics(image_auroc, pixel.auroc, pixel.pro, pixel.ap)
