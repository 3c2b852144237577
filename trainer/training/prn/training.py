"""From pictures of normal parts and of a few seen defects to a PRN engine file.

Of the normal pictures some are held out: they tell when to stop and calibrate the thresholds, and
so do anomalies made on them. Of twenty seen defects or more, some are held out as well.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from engines.engine import Scores
from engines.manifest import Manifest, Thresholds
from trainer.anomalies.synthesis import SyntheticBatch
from trainer.choices import PrnSize
from trainer.dataset import Dataset, snapshot
from trainer.export.calibrate import HeldOutDefects, calibrate
from trainer.export.engine_file import export_onnx, run_torch, write_engine
from trainer.networks.backbones import Backbone
from trainer.networks.prn import PRN, PRN_CONFIGS
from trainer.progress import Steps
from trainer.prototypes.whole_maps import CPU
from trainer.seen import seen_record, write_seen
from trainer.training.fit import CheckpointTarget, FitOptions, FitResult, StepReport, fit
from trainer.training.prn.data import (
    PreparedTraining,
    SupervisedRecipe,
    TrainingData,
    make_synthesis,
    prepare_training,
)
from trainer.training.prn.initial import InitialPrn, load_layer4, make_prn

CHECKPOINT_NAME = "checkpoint.safetensors"
_AHEAD_OF_GPU = 6  # threads that make batches while it learns one
_COMPARED = 4  # frames on which the exported graph must agree with torch
_BATCH = 8


@dataclass(frozen=True, slots=True)
class Calibrated:
    """Thresholds, and the scores that they rest on."""

    thresholds: Thresholds
    held_out_scores: NDArray[np.float32]  # [n], normal pictures


@dataclass(frozen=True, slots=True)
class TrainedPrn:
    """What training gave."""

    network: PRN
    fitted: FitResult
    thresholds: Thresholds
    held_out_scores: NDArray[np.float32]  # [n], normal pictures
    training_data: TrainingData
    rest: Dataset  # without the seen defects
    pretrained_bottom: bool  # the bottleneck began from ImageNet weights


def learn_prn(
    dataset: Dataset,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: Steps,
    on_step: Callable[[StepReport], None],
    device: torch.device = CPU,
    weights: Path | None = None,
) -> TrainedPrn:
    """Train and calibrate PRN; goes on from the checkpoint in `folder` if there is one.

    Steps run on `device`; all before and after them on the CPU, where a line may serve it. The
    paper's bottleneck begins from ImageNet where `weights`, of ResNet-18, hold its fourth stage.

    Raises:
        DatasetError: too few readable pictures, or defects that cannot be learned from.
        CheckpointError: `folder` holds the checkpoint of another training.
    """
    prepared = prepare_training(dataset, recipe, steps)
    made = make_initial_prn(prepared, backbone, recipe, folder, steps)
    pretrained = begin_bottom(made.network, recipe, weights)
    fitted = fit_prn(made, prepared, recipe, folder, on_step, device)
    found = calibrate_prn(made.network, prepared, recipe, steps)
    training_data, rest = prepared.training_data, prepared.rest
    return TrainedPrn(
        made.network,
        fitted,
        found.thresholds,
        found.held_out_scores,
        training_data,
        rest,
        pretrained,
    )


def make_initial_prn(
    prepared: PreparedTraining,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: Steps,
) -> InitialPrn:
    """Make prototypes of the normal pictures, and a head with fresh weights."""
    learned = prepared.training_data.learned
    config, parts, seed = PRN_CONFIGS[recipe.plan], recipe.parts, recipe.seed
    with steps.step("clustering normal parts", len(learned)) as advance:
        return make_prn(
            backbone, learned, config, parts, folder, seed, advance, recipe.prototype_share
        )


def begin_bottom(network: PRN, recipe: SupervisedRecipe, weights: Path | None) -> bool:
    """Begin the paper's bottleneck from ImageNet, where `weights` hold it; tell whether they do."""
    fits = PRN_CONFIGS[recipe.plan].bottleneck == "layer4" and recipe.backbone == "resnet18"
    return fits and weights is not None and load_layer4(network.head, weights)


def fit_prn(
    made: InitialPrn,
    prepared: PreparedTraining,
    recipe: SupervisedRecipe,
    folder: Path,
    on_step: Callable[[StepReport], None],
    device: torch.device = CPU,
    until: float | None = None,
) -> FitResult:
    """Train the network of `made` in place; it ends on the CPU.

    Goes on from the checkpoint in `folder` if there is one. By `until`, on the monotonic clock, it
    has cooled down, unless it began too late for that.

    Raises:
        CheckpointError: `folder` holds the checkpoint of another training.
    """
    training_data = prepared.training_data
    generator = make_synthesis(
        training_data.learned, training_data.seen, recipe, prepared.textures, made.rarity
    )
    network = made.network.to(device)
    fine, middle, coarse = (each.prototypes for each in network.compared)
    normals = made.normals.sharing((fine, middle, coarse))
    ahead = _AHEAD_OF_GPU if normals.device.type != "cpu" else 1
    options = FitOptions(recipe.method, recipe.budget, ahead=ahead, until=until)
    contents = training_data.contents() | {
        "weights of the backbone": _weights_sha(made.network.encoder)
    }
    checkpoint = CheckpointTarget(folder / CHECKPOINT_NAME, recipe.configuration(), contents)
    validation = prepared.validation
    fitted = fit(
        network, normals, generator, validation, options, checkpoint, time.monotonic, on_step
    )
    network.to(CPU)
    return fitted


def calibrate_prn(
    network: PRN, prepared: PreparedTraining, recipe: SupervisedRecipe, steps: Steps
) -> Calibrated:
    """Find thresholds on the held-out pictures and the anomalies made on them."""
    training_data = prepared.training_data
    with steps.step("calibrating on held-out parts", len(training_data.held)) as advance:
        judged = _judged(network, training_data.held, advance)
        defects = _defects(network, training_data, prepared.drawn_held)
    groups = training_data.held_groups or None
    zones = None if recipe.zones is None else recipe.zones.pixels
    thresholds = calibrate(
        judged.score, judged.maps, recipe.false_reject_rate, defects, groups=groups, zones=zones
    )
    return Calibrated(thresholds, judged.score)


def write_prn(
    folder: Path, dataset: Dataset, learned: TrainedPrn, recipe: SupervisedRecipe, steps: Steps
) -> Manifest:
    """Export to `folder` with manifest and seen.json.

    Raises:
        ExportError: the exported graph does not compute what was learned.
    """
    training_data = learned.training_data
    shas = (*training_data.pictures.shas, *training_data.seen_shas)
    record = seen_record(dataset.name, recipe.seed, recipe.leave_out, training_data.samples, shas)
    write_seen(folder, record)
    settings = {name: value for name, value in recipe.configuration().items() if value is not None}
    with steps.step("exporting and comparing", None):
        content = export_onnx(learned.network, training_data.pictures.pixels[:_COMPARED])
        return write_engine(
            engine_path(folder, recipe.plan),
            content,
            recipe.plan,
            recipe.size,
            learned.thresholds,
            snapshot(dataset.name, (*training_data.pictures.samples, *training_data.samples)),
            settings
            | {
                "seen": len(training_data.samples),
                "steps": learned.fitted.steps,
                "learned_from": len(training_data.learned),
            },
            recipe.zones.zones if recipe.zones else None,
        )


def engine_path(folder: Path, plan: PrnSize) -> Path:
    """Where a training writes its engine file."""
    return folder / f"{plan}.onnx"


def _weights_sha(encoder: nn.Module) -> str:
    digest = hashlib.sha256()
    for tensor in encoder.state_dict().values():
        digest.update(tensor.cpu().numpy().tobytes())
    return digest.hexdigest()


def _judged(
    network: PRN, pixels: NDArray[np.uint8], on_picture: Callable[[int], None] = lambda _: None
) -> Scores:
    answers = []
    for batch in np.array_split(pixels, -(-len(pixels) // _BATCH)):
        answers.append(run_torch(network, batch))
        on_picture(len(batch))
    return Scores(
        np.concatenate([answer.score for answer in answers]),
        np.concatenate([answer.maps for answer in answers]),
    )


def _defects(
    network: PRN, training_data: TrainingData, drawn_held: SyntheticBatch
) -> HeldOutDefects:
    """Judge the held-out defects, and the anomalies made on held-out normal pictures."""
    marked = (drawn_held.masks > 0).any(axis=(1, 2))
    pixels = np.concatenate([training_data.seen_held.pixels, drawn_held.frames[marked]])
    masks = np.concatenate([training_data.seen_held.masks, drawn_held.masks[marked] > 0])
    judged = _judged(network, pixels)
    return HeldOutDefects(judged.score, judged.maps, masks)
