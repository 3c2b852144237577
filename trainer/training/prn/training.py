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
from trainer.anomalies.synthesis import Batch
from trainer.choices import PlanName
from trainer.dataset import Dataset, snapshot
from trainer.export.calibrate import HeldOutDefects, calibrate
from trainer.export.engine_file import export_onnx, run_torch, write_engine
from trainer.networks.backbones import Backbone
from trainer.networks.prn import PLANS, PRN
from trainer.progress import Steps
from trainer.prototypes.whole_maps import CPU
from trainer.seen import seen_record, write_seen
from trainer.training.fit import Course, Fitted, Keep, Step, fit
from trainer.training.prn.data import Gathered, Material, SupervisedRecipe, gather, make_synthesis
from trainer.training.prn.initial import Untrained, load_layer4, make_prn

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
class LearnedPrn:
    """What training gave."""

    network: PRN
    fitted: Fitted
    thresholds: Thresholds
    held_out_scores: NDArray[np.float32]  # [n], normal pictures
    material: Material
    rest: Dataset  # without the seen defects
    pretrained_bottom: bool  # the bottleneck began from ImageNet weights


def learn_prn(
    dataset: Dataset,
    backbone: Backbone,
    recipe: SupervisedRecipe,
    folder: Path,
    steps: Steps,
    on_step: Callable[[Step], None],
    device: torch.device = CPU,
    weights: Path | None = None,
) -> LearnedPrn:
    """Train and calibrate PRN; goes on from the checkpoint in `folder` if there is one.

    Steps run on `device`; all before and after them on the CPU, where a line may serve it. The
    paper's bottleneck begins from ImageNet where `weights`, of ResNet-18, hold its fourth stage.

    Raises:
        DatasetError: too few readable pictures, or defects that cannot be learned from.
        CheckpointError: `folder` holds the checkpoint of another training.
    """
    gathered = gather(dataset, recipe, steps)
    made = make_untrained(gathered, backbone, recipe, folder, steps)
    pretrained = begin_bottom(made.network, recipe, weights)
    fitted = fit_prn(made, gathered, recipe, folder, on_step, device)
    found = calibrate_prn(made.network, gathered, recipe, steps)
    material, rest = gathered.material, gathered.rest
    return LearnedPrn(
        made.network,
        fitted,
        found.thresholds,
        found.held_out_scores,
        material,
        rest,
        pretrained,
    )


def make_untrained(
    gathered: Gathered, backbone: Backbone, recipe: SupervisedRecipe, folder: Path, steps: Steps
) -> Untrained:
    """Make prototypes of the normal pictures, and a head with fresh weights."""
    learned = gathered.material.learned
    plan, parts, seed = PLANS[recipe.plan], recipe.parts, recipe.seed
    with steps.step("clustering normal parts", len(learned)) as advance:
        return make_prn(
            backbone, learned, plan, parts, folder, seed, advance, recipe.prototype_share
        )


def begin_bottom(network: PRN, recipe: SupervisedRecipe, weights: Path | None) -> bool:
    """Begin the paper's bottleneck from ImageNet, where `weights` hold it; tell whether they do."""
    fits = PLANS[recipe.plan].bottleneck == "layer4" and recipe.backbone == "resnet18"
    return fits and weights is not None and load_layer4(network.head, weights)


def fit_prn(
    made: Untrained,
    gathered: Gathered,
    recipe: SupervisedRecipe,
    folder: Path,
    on_step: Callable[[Step], None],
    device: torch.device = CPU,
    until: float | None = None,
) -> Fitted:
    """Train the network of `made` in place; it ends on the CPU.

    Goes on from the checkpoint in `folder` if there is one. By `until`, on the monotonic clock, it
    has cooled down, unless it began too late for that.

    Raises:
        CheckpointError: `folder` holds the checkpoint of another training.
    """
    material = gathered.material
    generator = make_synthesis(
        material.learned, material.seen, recipe, gathered.textures, made.rarity
    )
    network = made.network.to(device)
    fine, middle, coarse = (each.prototypes for each in network.compared)
    normals = made.normals.sharing((fine, middle, coarse))
    ahead = _AHEAD_OF_GPU if normals.device.type != "cpu" else 1
    course = Course(recipe.method, recipe.budget, ahead=ahead, until=until)
    contents = material.contents() | {"weights of the backbone": _weights_sha(made.network.encoder)}
    keep = Keep(folder / CHECKPOINT_NAME, recipe.configuration(), contents)
    held = gathered.held
    fitted = fit(network, normals, generator, held, course, keep, time.monotonic, on_step)
    network.to(CPU)
    return fitted


def calibrate_prn(
    network: PRN, gathered: Gathered, recipe: SupervisedRecipe, steps: Steps
) -> Calibrated:
    """Find thresholds on the held-out pictures and the anomalies made on them."""
    material = gathered.material
    with steps.step("calibrating on held-out parts", len(material.held)) as advance:
        judged = _judged(network, material.held, advance)
        defects = _defects(network, material, gathered.drawn_held)
    thresholds = calibrate(judged.score, judged.maps, recipe.false_reject_rate, defects)
    return Calibrated(thresholds, judged.score)


def write_prn(
    folder: Path, dataset: Dataset, learned: LearnedPrn, recipe: SupervisedRecipe, steps: Steps
) -> Manifest:
    """Export to `folder` with manifest and seen.json.

    Raises:
        ExportError: the exported graph does not compute what was learned.
    """
    material = learned.material
    shas = (*material.pictures.shas, *material.seen_shas)
    record = seen_record(dataset.name, recipe.seed, recipe.leave_out, material.samples, shas)
    write_seen(folder, record)
    settings = {name: value for name, value in recipe.configuration().items() if value is not None}
    with steps.step("exporting and comparing", None):
        content = export_onnx(learned.network, material.pictures.pixels[:_COMPARED])
        return write_engine(
            engine_path(folder, recipe.plan),
            content,
            recipe.plan,
            recipe.size,
            learned.thresholds,
            snapshot(dataset.name, (*material.pictures.samples, *material.samples)),
            settings
            | {
                "seen": len(material.samples),
                "steps": learned.fitted.steps,
                "learned_from": len(material.learned),
            },
        )


def engine_path(folder: Path, plan: PlanName) -> Path:
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


def _defects(network: PRN, material: Material, drawn_held: Batch) -> HeldOutDefects:
    """Judge the held-out defects, and the anomalies made on held-out normal pictures."""
    marked = drawn_held.masks.any(axis=(1, 2))
    pixels = np.concatenate([material.seen_held.pixels, drawn_held.frames[marked]])
    masks = np.concatenate([material.seen_held.masks, drawn_held.masks[marked] > 0])
    judged = _judged(network, pixels)
    return HeldOutDefects(judged.score, judged.maps, masks)
