"""What a training learns from, what it holds out, and what it recognises when it goes on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import pytest
import torch
from fakes.prn import TinyBackbone, normal_pictures
from rich.console import Console

from engines.pictures.read import read_picture
from trainer.anomalies.synthesis import AnomalyKinds
from trainer.dataset import Dataset, content_sha
from trainer.errors import CheckpointError
from trainer.layouts import find_samples
from trainer.networks.backbones import Backbone
from trainer.networks.prn import NetworkParts
from trainer.progress import TerminalSteps
from trainer.training.fit import FitResult
from trainer.training.prn.data import PreparedTraining, SupervisedRecipe, prepare_training
from trainer.training.prn.training import fit_prn, make_initial_prn
from trainer.training.protoad import ProtoAdRecipe, learn_protoad, read_normals
from trainer.training.schedule import Budget
from trainer.training.training_step import OptimizerConfig

NORMALS, DEFECTS = 12, 24
RECIPE = SupervisedRecipe(
    plan="prn-s",
    backbone="tiny",
    size=(32, 32),
    seed=1,
    seen=3,
    leave_out=(),
    parts=NetworkParts(),
    anomalies=AnomalyKinds(),
    textures=None,
    batch_size=4,
    method=OptimizerConfig(shards=1),
    budget=Budget(1, "steps"),
    false_reject_rate=0.01,
    max_normals=100,
)


def write(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


@pytest.fixture
def parts(tmp_path: Path) -> Path:
    """Good parts, and defects with masks, no two alike."""
    folder = tmp_path / "parts"
    pictures = normal_pictures(NORMALS + DEFECTS)
    mask = np.zeros((32, 32), np.uint8)
    mask[4:12, 4:12] = 255
    for number, pixels in enumerate(pictures[:NORMALS]):
        write(folder / "train" / "good" / f"{number:02}.png", pixels)
    for number, pixels in enumerate(pictures[NORMALS:]):
        pixels[mask > 0] = 250 - number
        write(folder / "test" / "dent" / f"{number}.png", pixels)
        write(folder / "ground_truth" / "dent" / f"{number}_mask.png", mask)
    return folder


def gathered(dataset: Dataset, recipe: SupervisedRecipe = RECIPE) -> PreparedTraining:
    with TerminalSteps(Console(quiet=True)) as steps:
        return prepare_training(dataset, recipe, steps)


def fit(parts: Path, backbone: Backbone | None = None) -> FitResult:
    found = gathered(find_samples(parts))
    folder = parts.parent / "run"
    folder.mkdir(exist_ok=True)
    with TerminalSteps(Console(quiet=True)) as steps:
        made = make_initial_prn(found, backbone or TinyBackbone(), RECIPE, folder, steps)
    return fit_prn(made, found, RECIPE, folder, lambda _: None)


def other_normal(parts: Path) -> None:
    write(parts / "train" / "good" / "03.png", normal_pictures(NORMALS + 9)[-1])


def one_more_normal(parts: Path) -> None:
    write(parts / "train" / "good" / "zz.png", normal_pictures(NORMALS + 9)[-1])


def other_defects(parts: Path) -> None:
    for path in (parts / "test" / "dent").glob("*.png"):
        write(path, cv2.imread(str(path)) // 2)


def other_masks(parts: Path) -> None:
    for path in (parts / "ground_truth" / "dent").glob("*.png"):
        write(path, np.roll(cv2.imread(str(path), cv2.IMREAD_GRAYSCALE), 3, axis=0))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_normal, "normal pictures"),
        (one_more_normal, "normal pictures"),
        (other_defects, "seen defects"),
        (other_masks, "masks of seen defects"),
    ],
)
def test_checkpoint_of_other_pictures_is_refused(
    parts: Path, change: Callable[[Path], None], what: str
) -> None:
    fit(parts)
    change(parts)
    with pytest.raises(CheckpointError, match=f"the {what} are not those .* remove it"):
        fit(parts)


def test_checkpoint_on_other_weights_of_the_backbone_is_refused(parts: Path) -> None:
    fit(parts)
    other = TinyBackbone()
    with torch.no_grad():
        other.coarse.bias.add_(0.1)
    with pytest.raises(CheckpointError, match="the weights of the backbone are not those"):
        fit(parts, other)


def test_training_records_every_picture_that_it_saw(parts: Path) -> None:
    training_data = gathered(find_samples(parts)).training_data
    names = {sample.name for sample in training_data.pictures.samples}
    assert (len(names), len(set(training_data.pictures.shas))) == (NORMALS, NORMALS)
    assert training_data.seen_shas == tuple(
        content_sha(read_picture(sample.path)) for sample in training_data.samples
    )


def pixels_of(pictures: np.ndarray) -> set[bytes]:
    return {each.tobytes() for each in pictures}


@pytest.mark.parametrize("held_by", [None, "content"])
def test_nothing_that_is_held_out_is_learned(
    parts: Path, held_by: Literal["content"] | None
) -> None:
    recipe = replace(RECIPE, seen=DEFECTS, held_by=held_by)
    found = gathered(find_samples(parts), recipe)
    training_data = found.training_data
    learned, held = pixels_of(training_data.learned), pixels_of(training_data.held)
    assert held
    assert not learned & held
    assert len(learned | held) == NORMALS
    learned, held = pixels_of(training_data.seen.pixels), pixels_of(training_data.seen_held.pixels)
    assert held
    assert not learned & held
    assert len(learned | held) == DEFECTS
    with TerminalSteps(Console(quiet=True)) as steps:
        made = make_initial_prn(found, TinyBackbone(), recipe, parts.parent, steps)
    np.testing.assert_array_equal(made.normals.pixels, training_data.learned)


def test_protoad_learns_nothing_of_what_is_held_out(parts: Path) -> None:
    recipe = ProtoAdRecipe(
        (32, 32), seed=1, false_reject_rate=0.01, held_out_share=0.2, max_normals=100
    )
    learned = []
    with TerminalSteps(Console(quiet=True)) as steps:
        normals = read_normals(find_samples(parts), recipe, steps)
        assert not {*normals.learned} & {*normals.held}
        for _ in range(2):
            learned.append(learn_protoad(normals, TinyBackbone(), recipe, steps).prototypes)
            normals.pictures.pixels[normals.held] = 255
    assert torch.equal(*learned)


def test_training_on_the_same_pictures_goes_on(parts: Path) -> None:
    assert fit(parts).steps == 1
    assert fit(parts).steps == 1
