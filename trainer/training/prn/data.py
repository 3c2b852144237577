"""What a supervised training learns from: pictures, seen defects, and what is held out of both."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.synthesis import AnomalyKinds, Synthesis, SyntheticBatch
from trainer.anomalies.textures import Textures, open_textures
from trainer.choices import PROTOTYPE_SHARE, PrnSize
from trainer.dataset import Dataset, Pictures, Sample, load_pictures
from trainer.groups import PictureGroups, find_groups, fingerprints
from trainer.networks.prn import NetworkParts
from trainer.progress import Steps
from trainer.seen import SeenPictures, draw_seen, load_seen
from trainer.training.protoad import check_count, drawn
from trainer.training.schedule import Budget
from trainer.training.training_step import OptimizerConfig
from trainer.training.validation import (
    ValidationSet,
    ValidationSplit,
    make_validation_set,
    split_normals,
    split_normals_by_content,
    split_seen,
    split_seen_by_content,
)
from trainer.zones import PictureZones

_HELD_ANOMALIES = 32  # made on held-out normal pictures; half remain where pictures are moved


@dataclass(frozen=True, slots=True)
class SupervisedRecipe:
    """What decides the result, besides the pictures and the weights of the backbone."""

    plan: PrnSize
    backbone: str
    size: tuple[int, int]  # (height, width), multiples of 32
    seed: int
    seen: int | None  # defects to learn from; None: all that can be
    leave_out: tuple[str, ...]  # kinds of defects never to learn from
    parts: NetworkParts
    anomalies: AnomalyKinds
    textures: Path | None
    batch_size: int
    method: OptimizerConfig
    budget: Budget
    false_reject_rate: float
    max_normals: int
    prototype_share: float = PROTOTYPE_SHARE  # prototypes by normal pictures, above 0, at most 1
    start: str | None = None  # SHA-256 of the head's weights that it begins from; None: fresh ones
    held_by: Literal["content"] | None = None  # what holds a picture out; None: a draw by seed
    zones: PictureZones | None = None  # None: the whole picture is inspected

    def configuration(self) -> dict[str, str | int | float | bool | None]:
        """All of it as plain values, by which a checkpoint is recognised."""
        flat: dict[str, str | int | float | bool | None] = {}
        if self.zones is not None:
            flat["zones"] = self.zones.zones.sha256
        for name, value in asdict(replace(self, zones=None)).items():
            if name == "zones":  # said above, where there are any
                continue
            if isinstance(value, dict):
                flat |= {f"{name}.{inner}": each for inner, each in value.items()}
            else:
                plain = value is None or isinstance(value, str | int | float | bool)
                flat[name] = value if plain else str(value)
        return flat


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Pictures to learn from, and pictures held out."""

    pictures: Pictures  # the normal ones, learned and held out
    learned: NDArray[np.uint8]  # normal [N, H, W, 3]
    held: NDArray[np.uint8]  # normal [n, H, W, 3]
    seen: SeenPictures  # to learn from
    seen_held: SeenPictures
    samples: tuple[Sample, ...]  # of the seen defects, both
    seen_shas: tuple[str, ...]  # of each of them
    held_groups: tuple[str, ...] = ()  # of each held-out normal picture
    notes: tuple[str, ...] = ()  # what a person should know of the groups

    def contents(self) -> dict[str, str]:
        """Hash all of it, by which a checkpoint is recognised."""
        masks = [each.masks.tobytes() for each in (self.seen, self.seen_held)]
        return {
            "normal pictures": _hash("\n".join(self.pictures.shas).encode()),
            "seen defects": _hash("\n".join(self.seen_shas).encode()),
            "masks of seen defects": _hash(*masks),
        }


@dataclass(frozen=True, slots=True)
class PreparedTraining:
    """All that a training needs to know before it begins."""

    training_data: TrainingData
    rest: Dataset  # without the seen defects
    textures: Textures
    validation: ValidationSet
    drawn_held: SyntheticBatch  # the anomalies in `held` that were made on held-out normal pictures

    @property
    def unreadable(self) -> tuple[str, ...]:
        """One sentence for each picture that was left out."""
        return (*self.rest.unreadable, *self.training_data.pictures.unreadable)


def prepare_training(dataset: Dataset, recipe: SupervisedRecipe, steps: Steps) -> PreparedTraining:
    """Read the pictures to learn from and those to hold out, and make anomalies on the latter.

    Raises:
        DatasetError: too few readable pictures, or defects that cannot be learned from.
    """
    training_data, rest = _read_training_data(dataset, recipe, steps)
    with steps.step("drawing textures", None):
        textures = open_textures(recipe.textures, recipe.size, recipe.seed)
        validation, drawn_held = _validation_set(training_data, recipe, textures)
    return PreparedTraining(training_data, rest, textures, validation, drawn_held)


def make_synthesis(
    normals: NDArray[np.uint8],
    seen: SeenPictures,
    recipe: SupervisedRecipe,
    textures: Textures,
    rarity: NDArray[np.float64] | None = None,
) -> Synthesis:
    """Make what draws batches of these pictures; the same recipe draws the same ones."""
    kinds, size, seed = recipe.anomalies, recipe.batch_size, recipe.seed
    inspected = None if recipe.zones is None else recipe.zones.inspected
    return Synthesis(normals, seen, textures, kinds, size, seed, rarity, inspected)


def _read_training_data(
    dataset: Dataset, recipe: SupervisedRecipe, steps: Steps
) -> tuple[TrainingData, Dataset]:
    check_count(len(dataset.normals))
    samples, rest = draw_seen(dataset, recipe.seen, recipe.seed, recipe.leave_out)
    normals = drawn(dataset.normals, recipe.max_normals, recipe.seed)
    with steps.step("reading pictures", len(normals)) as advance:
        pictures = load_pictures(normals, recipe.size, lambda: advance(1))
        check_count(len(pictures.samples), pictures.unreadable)
        seen = load_seen(samples, recipe.size)
    notes: tuple[str, ...] = ()
    if recipe.zones is not None:
        recipe.zones.check_fit(pictures)
        samples, seen, notes = _inspected_seen(samples, seen, recipe.zones)
    groups, of_normals, of_seen = _divided(pictures, samples, seen, recipe)
    training_data = TrainingData(
        pictures,
        pictures.pixels[of_normals.learned],
        pictures.pixels[of_normals.held],
        SeenPictures(seen.pixels[of_seen.learned], seen.masks[of_seen.learned]),
        SeenPictures(seen.pixels[of_seen.held], seen.masks[of_seen.held]),
        samples,
        seen.shas,
        tuple(groups.keys[place] for place in of_normals.held),
        (*groups.notes, *notes),
    )
    return training_data, rest


def _inspected_seen(
    samples: tuple[Sample, ...], seen: SeenPictures, zones: PictureZones
) -> tuple[tuple[Sample, ...], SeenPictures, tuple[str, ...]]:
    """Leave out what is ignored of seen defects, and defects of which nothing is left."""
    masks = seen.masks & zones.inspected
    left = np.asarray(masks.any(axis=(1, 2)), np.bool_)
    names = [sample.name for sample, stays in zip(samples, left, strict=True) if not stays]
    note = f"{len(names)} seen defects lie in ignored zones and do not teach: {', '.join(names)}"
    return (
        tuple(sample for sample, stays in zip(samples, left, strict=True) if stays),
        SeenPictures(
            seen.pixels[left],
            masks[left],
            tuple(sha for sha, stays in zip(seen.shas, left, strict=True) if stays),
        ),
        (note,) if names else (),
    )


def _divided(
    pictures: Pictures, samples: Sequence[Sample], seen: SeenPictures, recipe: SupervisedRecipe
) -> tuple[PictureGroups, ValidationSplit, ValidationSplit]:
    """Decide which normal pictures and which seen defects are held out; no group is on both sides.

    The groups are those of the normal pictures, then of the seen defects.
    """
    prints = np.concatenate([fingerprints(pictures.pixels), fingerprints(seen.pixels)])
    groups = find_groups((*pictures.samples, *samples), prints, (*pictures.shas, *seen.shas))
    count = len(pictures.samples)
    normals, defects = groups.keys[:count], groups.keys[count:]
    if recipe.held_by == "content":
        of_seen = split_seen_by_content(seen.shas, defects, set(normals))
        kept = {defects[place] for place in of_seen.learned}
        return groups, split_normals_by_content(pictures.shas, normals, kept), of_seen
    of_seen = split_seen(defects, recipe.seed, set(normals))
    kept = {defects[place] for place in of_seen.learned}
    return groups, split_normals(normals, recipe.seed, kept), of_seen


def _validation_set(
    training_data: TrainingData, recipe: SupervisedRecipe, textures: Textures
) -> tuple[ValidationSet, SyntheticBatch]:
    """Held-out pictures, and the anomalies among them that were made on held-out normal ones."""
    made = make_synthesis(training_data.held, training_data.seen, recipe, textures)
    half = recipe.batch_size // 2  # normal pictures come first
    batches = [made.batch(step) for step in range(-(-_HELD_ANOMALIES // half))]
    anomalies = SyntheticBatch(
        np.concatenate([batch.frames[half:] for batch in batches]),
        np.concatenate([batch.masks[half:] for batch in batches]),
        np.concatenate([batch.normals[half:] for batch in batches]),
    )
    new = anomalies.normals >= 0  # not the seen defects themselves
    anomalies = SyntheticBatch(anomalies.frames[new], anomalies.masks[new], anomalies.normals[new])
    seen = training_data.seen_held
    inspected = None if recipe.zones is None else recipe.zones.inspected
    validation = make_validation_set(
        training_data.held, anomalies, seen.pixels, seen.masks, inspected
    )
    return validation, anomalies


def _hash(*parts: bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
