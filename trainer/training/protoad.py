"""From pictures of normal parts to an engine file that knows its thresholds."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from engines.manifest import Manifest, Thresholds
from trainer.choices import Clustering
from trainer.dataset import Dataset, Pictures, Sample, load_pictures, snapshot
from trainer.errors import DatasetError
from trainer.export.calibrate import calibrate
from trainer.export.engine_file import export_onnx, run_torch, write_engine
from trainer.groups import PictureGroups, draw_groups, find_groups, fingerprints
from trainer.networks.backbones import Backbone
from trainer.networks.proto_ad import PatchEncoder, ProtoAD
from trainer.progress import Steps
from trainer.prototypes.patch_clustering import PATCH_STRIDE, learn_prototypes, sample_patches
from trainer.seen import join_seen, seen_record
from trainer.zones import PictureZones

ENGINE_NAME = "protoad.onnx"
LEAST_NORMALS = 10
_BATCH = 8
_COMPARED = 4  # frames on which the exported graph must agree with torch


@dataclass(frozen=True, slots=True)
class ProtoAdRecipe:
    """What decides the result, besides the pictures."""

    size: tuple[int, int]  # (height, width), multiples of 16
    seed: int
    false_reject_rate: float  # wanted share of normal frames above the image threshold
    held_out_share: float  # of the normals: they calibrate and are not learned
    max_normals: int  # of more, so many are drawn
    zones: PictureZones | None = None  # None: the whole picture is inspected
    clustering: Clustering = "finch"


@dataclass(frozen=True, slots=True)
class TrainedProtoAd:
    """What learning gave."""

    network: ProtoAD
    thresholds: Thresholds
    held_out_scores: NDArray[np.float32]  # [n]
    learned_from: int  # pictures
    pictures: Pictures  # learned and held out
    notes: tuple[str, ...] = ()  # what a person should know of their groups


@dataclass(frozen=True, slots=True)
class NormalParts:
    """Pictures of normal parts, and which of them are held out."""

    pictures: Pictures
    learned: NDArray[np.intp]
    held: NDArray[np.intp]
    groups: PictureGroups  # no group is on both sides


def learn(
    dataset: Dataset, backbone: Backbone, recipe: ProtoAdRecipe, steps: Steps
) -> TrainedProtoAd:
    """Learn and calibrate ProtoAD; the same pictures, recipe and machine give the same network.

    Raises:
        DatasetError: too few readable pictures of normal parts.
    """
    parts = read_normals(dataset, recipe, steps)
    network = learn_protoad(parts, backbone, recipe, steps)
    return calibrate_protoad(network, parts, recipe, steps)


def read_normals(dataset: Dataset, recipe: ProtoAdRecipe, steps: Steps) -> NormalParts:
    """Read pictures to learn from and to hold out.

    Raises:
        DatasetError: too few readable pictures of normal parts.
    """
    check_count(len(dataset.normals))
    samples = drawn(dataset.normals, recipe.max_normals, recipe.seed)
    with steps.step("reading pictures", len(samples)) as advance:
        pictures = load_pictures(samples, recipe.size, lambda: advance(1))
    check_count(len(pictures.samples), pictures.unreadable)
    if recipe.zones is not None:
        recipe.zones.check_fit(pictures)
    groups = find_groups(pictures.samples, fingerprints(pictures.pixels), pictures.shas)
    held = draw_groups(groups.keys, recipe.held_out_share, recipe.seed)
    return NormalParts(pictures, np.flatnonzero(~held), np.flatnonzero(held), groups)


def check_count(count: int, unreadable: Sequence[str] = ()) -> None:
    """Refuse fewer normal pictures than a network can be learned from.

    Raises:
        DatasetError: fewer than `LEAST_NORMALS`.
    """
    if count < LEAST_NORMALS:
        why = f" ({len(unreadable)} do not read, the first: {unreadable[0]})" if unreadable else ""
        raise DatasetError(
            f"{count} readable pictures of normal parts{why}, at least {LEAST_NORMALS} are "
            "needed: a hundred or more are better"
        )


def learn_protoad(
    parts: NormalParts, backbone: Backbone, recipe: ProtoAdRecipe, steps: Steps
) -> ProtoAD:
    """Choose the prototypes of the pictures to learn from."""
    encoder = PatchEncoder(backbone).eval()
    pixels = parts.pictures.pixels[parts.learned]
    with steps.step("looking at normal parts", len(pixels)) as advance:
        inspected = None if recipe.zones is None else recipe.zones.patches(PATCH_STRIDE)
        sample = sample_patches(encoder, pixels, recipe.seed, advance, inspected)
    with steps.step("choosing prototypes", None):
        return ProtoAD(encoder, learn_prototypes(sample, recipe.clustering)).eval()


def calibrate_protoad(
    network: ProtoAD, parts: NormalParts, recipe: ProtoAdRecipe, steps: Steps
) -> TrainedProtoAd:
    """Find thresholds on the pictures that are held out."""
    with steps.step("calibrating on held-out parts", len(parts.held)) as advance:
        scores, maps = judge_pictures(network, parts.pictures.pixels[parts.held], advance)
    keys = [parts.groups.keys[place] for place in parts.held]
    zones = None if recipe.zones is None else recipe.zones.pixels
    thresholds = calibrate(scores, maps, recipe.false_reject_rate, groups=keys, zones=zones)
    learned, notes = len(parts.learned), parts.groups.notes
    return TrainedProtoAd(network, thresholds, scores, learned, parts.pictures, notes)


def write_learned(
    folder: Path,
    name: str,
    learned: TrainedProtoAd,
    recipe: ProtoAdRecipe,
    backbone: str,
    steps: Steps,
) -> Manifest:
    """Export to `folder`/protoad.onnx with its manifest and seen.json.

    Raises:
        ExportError: the exported graph does not compute what was learned.
    """
    join_seen(folder, seen_record(name, recipe.seed, (), (), learned.pictures.shas))
    with steps.step("exporting and comparing", None):
        content = export_onnx(learned.network, learned.pictures.pixels[:_COMPARED])
        return write_engine(
            folder / ENGINE_NAME,
            content,
            "protoad",
            recipe.size,
            learned.thresholds,
            snapshot(name, learned.pictures.samples),
            {
                "backbone": backbone,
                "seed": recipe.seed,
                "prototypes": learned.network.prototypes.shape[1],
                "learned_from": learned.learned_from,
                "held_out_share": recipe.held_out_share,
                "max_normals": recipe.max_normals,
                "clustering": recipe.clustering,
            },
            recipe.zones.zones if recipe.zones else None,
        )


def drawn(samples: tuple[Sample, ...], most: int, seed: int) -> tuple[Sample, ...]:
    """Take all samples, or `most` of them drawn by seed, in their order."""
    if len(samples) <= most:
        return samples
    kept = np.random.default_rng(seed).choice(len(samples), most, replace=False)
    return tuple(samples[index] for index in np.sort(kept))


def judge_pictures(
    network: ProtoAD,
    pixels: NDArray[np.uint8],
    on_picture: Callable[[int], None] = lambda _: None,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Score uint8 [N, H, W, 3]: scores [N] and maps [N, H, W]."""
    answers = list(_answers(network, pixels, on_picture))
    return np.concatenate([a[0] for a in answers]), np.concatenate([a[1] for a in answers])


def _answers(
    network: ProtoAD,
    pixels: NDArray[np.uint8],
    on_picture: Callable[[int], None] = lambda _: None,
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    for batch in np.array_split(pixels, -(-len(pixels) // _BATCH)):
        answer = run_torch(network, batch)
        yield answer.score, answer.maps
        on_picture(len(batch))


def set_determinism(seed: int) -> None:
    """Make torch on this machine repeat itself."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # which CUDA wants for it
    torch.manual_seed(seed)
    torch.use_deterministic_algorithms(mode=True)
