"""From pictures of normal parts and of a few seen defects to a PRN engine file.

Of the normal pictures some are held out: they tell when to stop and calibrate the thresholds, and
so do anomalies made on them. Of twenty seen defects or more, some are held out as well.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.engine import Scores
from engines.manifest import Manifest, Thresholds
from trainer.anomalies.synthesis import Batch, Switches, Synthesis
from trainer.anomalies.textures import Textures, open_textures
from trainer.choices import PROTOTYPE_SHARE, PlanName
from trainer.dataset import Dataset, Pictures, Sample, load_pictures, snapshot
from trainer.errors import DatasetError
from trainer.export.calibrate import HeldOutDefects, calibrate
from trainer.export.engine_file import export_onnx, run_torch, write_engine
from trainer.networks.backbones import Backbone
from trainer.networks.prn import PLANS, PRN
from trainer.networks.prn import Switches as Parts
from trainer.progress import Steps
from trainer.prototypes.normals import Normals
from trainer.prototypes.whole_maps import CPU
from trainer.seen import SeenPictures, draw_seen, load_seen, seen_record, write_seen
from trainer.training.fit import Course, Fitted, Keep, Step, fit
from trainer.training.held_out import HeldOut, divide_normals, divide_seen, hold_out
from trainer.training.learning import LEAST_NORMALS, drawn
from trainer.training.schedule import Budget
from trainer.training.trainee import Method
from trainer.training.untrained import load_layer4, make_prn

CHECKPOINT_NAME = "checkpoint.safetensors"
_HELD_ANOMALIES = 32  # made on held-out normal pictures; half remain where pictures are moved
_AHEAD_OF_GPU = 6  # threads that make batches while it learns one
_COMPARED = 4  # frames on which the exported graph must agree with torch
_BATCH = 8


@dataclass(frozen=True, slots=True)
class SupervisedRecipe:
    """What decides the result, besides the pictures and the weights of the backbone."""

    plan: PlanName
    backbone: str
    size: tuple[int, int]  # (height, width), multiples of 32
    seed: int
    seen: int  # defects to learn from
    leave_out: tuple[str, ...]  # kinds of defects never to learn from
    parts: Parts
    anomalies: Switches
    textures: Path | None
    batch_size: int
    method: Method
    budget: Budget
    false_reject_rate: float
    max_normals: int
    prototype_share: float = PROTOTYPE_SHARE  # prototypes by normal pictures, above 0, at most 1

    def configuration(self) -> dict[str, str | int | float | bool | None]:
        """All of it as plain values, by which a checkpoint is recognised."""
        flat: dict[str, str | int | float | bool | None] = {}
        for name, value in asdict(self).items():
            if isinstance(value, dict):
                flat |= {f"{name}.{inner}": each for inner, each in value.items()}
            else:
                plain = value is None or isinstance(value, str | int | float | bool)
                flat[name] = value if plain else str(value)
        return flat


@dataclass(frozen=True, slots=True)
class Material:
    """Pictures to learn from, and pictures held out."""

    pictures: Pictures  # the normal ones, learned and held out
    learned: NDArray[np.uint8]  # normal [N, H, W, 3]
    held: NDArray[np.uint8]  # normal [n, H, W, 3]
    seen: SeenPictures  # to learn from
    seen_held: SeenPictures
    samples: tuple[Sample, ...]  # of the seen defects, both


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
    material, rest = _gather(dataset, recipe, steps)
    with steps.step("drawing textures", None):
        textures = open_textures(recipe.textures, recipe.size, recipe.seed)
        held, drawn_held = _held_out(material, recipe, textures)
    plan = PLANS[recipe.plan]
    with steps.step("clustering normal parts", len(material.learned)) as advance:
        made = make_prn(
            backbone,
            material.learned,
            plan,
            recipe.parts,
            folder,
            recipe.seed,
            advance,
            recipe.prototype_share,
        )
    generator = _synthesis(material.learned, material.seen, recipe, textures, made.rarity)
    pretrained = False
    if plan.bottleneck == "layer4" and recipe.backbone == "resnet18" and weights is not None:
        pretrained = load_layer4(made.network.head, weights)
    network = made.network.to(device)
    fine, middle, coarse = (each.prototypes for each in network.compared)
    normals = made.normals.sharing((fine, middle, coarse))
    fitted = _fitted(network, normals, generator, held, recipe, folder, on_step)
    network.to(CPU)
    with steps.step("calibrating on held-out parts", len(material.held)) as advance:
        judged = _judged(made.network, material.held, advance)
        defects = _defects(made.network, material, drawn_held)
    thresholds = calibrate(judged.score, judged.maps, recipe.false_reject_rate, defects)
    return LearnedPrn(made.network, fitted, thresholds, judged.score, material, rest, pretrained)


def write_prn(
    folder: Path, dataset: Dataset, learned: LearnedPrn, recipe: SupervisedRecipe, steps: Steps
) -> Manifest:
    """Export to `folder` with manifest and seen.json.

    Raises:
        ExportError: the exported graph does not compute what was learned.
    """
    material = learned.material
    record = seen_record(dataset.name, recipe.seed, recipe.leave_out, material.samples)
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
            settings | {"steps": learned.fitted.steps, "learned_from": len(material.learned)},
        )


def engine_path(folder: Path, plan: PlanName) -> Path:
    """Where a training writes its engine file."""
    return folder / f"{plan}.onnx"


def _gather(dataset: Dataset, recipe: SupervisedRecipe, steps: Steps) -> tuple[Material, Dataset]:
    if len(dataset.normals) < LEAST_NORMALS:
        raise DatasetError(
            f"{len(dataset.normals)} pictures of normal parts, at least {LEAST_NORMALS} are "
            "needed: a hundred or more are better"
        )
    samples, rest = draw_seen(dataset, recipe.seen, recipe.seed, recipe.leave_out)
    normals = drawn(dataset.normals, recipe.max_normals, recipe.seed)
    with steps.step("reading pictures", len(normals)) as advance:
        pictures = load_pictures(normals, recipe.size, lambda: advance(1))
        seen = load_seen(samples, recipe.size)
    of_normals = divide_normals(len(pictures.samples), recipe.seed)
    of_seen = divide_seen(len(samples), recipe.seed)
    material = Material(
        pictures,
        pictures.pixels[of_normals.learned],
        pictures.pixels[of_normals.held],
        SeenPictures(seen.pixels[of_seen.learned], seen.masks[of_seen.learned]),
        SeenPictures(seen.pixels[of_seen.held], seen.masks[of_seen.held]),
        samples,
    )
    return material, rest


def _synthesis(
    normals: NDArray[np.uint8],
    seen: SeenPictures,
    recipe: SupervisedRecipe,
    textures: Textures,
    rarity: NDArray[np.float64] | None = None,
) -> Synthesis:
    switches, size, seed = recipe.anomalies, recipe.batch_size, recipe.seed
    return Synthesis(normals, seen, textures, switches, size, seed, rarity)


def _held_out(
    material: Material, recipe: SupervisedRecipe, textures: Textures
) -> tuple[HeldOut, Batch]:
    """Held-out pictures, and the anomalies among them that were made on held-out normal ones."""
    made = _synthesis(material.held, material.seen, recipe, textures)
    half = recipe.batch_size // 2  # normal pictures come first
    batches = [made.batch(step) for step in range(-(-_HELD_ANOMALIES // half))]
    anomalies = Batch(
        np.concatenate([batch.frames[half:] for batch in batches]),
        np.concatenate([batch.masks[half:] for batch in batches]),
        np.concatenate([batch.normals[half:] for batch in batches]),
    )
    new = anomalies.normals >= 0  # not the seen defects themselves
    anomalies = Batch(anomalies.frames[new], anomalies.masks[new], anomalies.normals[new])
    seen = material.seen_held
    return hold_out(material.held, anomalies, seen.pixels, seen.masks), anomalies


def _fitted(
    network: PRN,
    normals: Normals,
    generator: Synthesis,
    held: HeldOut,
    recipe: SupervisedRecipe,
    folder: Path,
    on_step: Callable[[Step], None],
) -> Fitted:
    ahead = _AHEAD_OF_GPU if normals.device.type != "cpu" else 1
    course = Course(recipe.method, recipe.budget, ahead=ahead)
    keep = Keep(folder / CHECKPOINT_NAME, recipe.configuration())
    return fit(network, normals, generator, held, course, keep, time.monotonic, on_step)


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
