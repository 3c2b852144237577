"""PRN in a retrain: what it learns from, and how."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from fakes.prn import normal_pictures
from rich.console import Console

from trainer.choices import LEARNING_RATES
from trainer.dataset import Dataset, Sample
from trainer.progress import TerminalSteps
from trainer.retrain.learner import Task
from trainer.retrain.prn_learner import FINE_TUNE_RATE, PrnLearner
from trainer.retrain.weights import StartWeights
from trainer.retrain_settings import CandidateRecipe

NORMALS, DEFECTS = 12, 5


def sample(folder: Path, number: int, kind: str, pixels: np.ndarray) -> Sample:
    path, mask = folder / f"{number}.png", None
    assert cv2.imwrite(str(path), pixels)
    if kind != "good":
        mask = folder / f"{number}_mask.png"
        assert cv2.imwrite(str(mask), np.pad(np.full((8, 8), 255, np.uint8), 12))
    return Sample(f"train/{kind}/{number}.png", path, kind, mask)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    """Few small pictures of a store."""
    kinds = ["good"] * NORMALS + ["dent"] * DEFECTS
    samples = tuple(
        sample(tmp_path, number, kind, pixels)
        for number, (kind, pixels) in enumerate(zip(kinds, normal_pictures(17), strict=True))
    )
    return Task(
        dataset=Dataset("store", samples[:NORMALS], (), samples[NORMALS:]),
        folder=tmp_path,
        steps=TerminalSteps(Console(quiet=True)),
        # smaller than the flags allow
        recipe=CandidateRecipe(max_normals=100).model_copy(update={"size": 32}),
        start=None,
    )


def learner(task: Task) -> PrnLearner:
    return PrnLearner(task, "prn-s", torch.device("cpu"))


def test_damaged_defects_and_masks_are_left_out_and_the_others_learned(task: Task) -> None:
    dents = task.dataset.defects
    dents[1].path.write_bytes(b"damaged")
    assert dents[3].mask is not None
    dents[3].mask.write_bytes(b"damaged")
    prepared = learner(task)._gather()
    assert {each.name for each in prepared.training_data.samples} == {
        dents[i].name for i in (0, 2, 4)
    }
    assert len(prepared.unreadable) == 2
    assert all(any(dents[i].path.stem in each for each in prepared.unreadable) for i in (1, 3))


def test_head_that_knows_the_part_learns_at_a_lower_rate(task: Task) -> None:
    knowing = replace(task, start=StartWeights({}, "0" * 64, "head.safetensors"))
    rate = LEARNING_RATES["prn-s"]
    assert learner(task)._recipe().method.learning_rate == rate
    assert learner(knowing)._recipe().method.learning_rate == FINE_TUNE_RATE * rate < rate


def test_picture_stays_held_out_under_another_name_and_kind(task: Task) -> None:
    def held(task: Task) -> set[bytes]:
        training_data = learner(task)._gather().training_data
        return {each.tobytes() for each in (*training_data.held, *training_data.seen_held.pixels)}

    found = task.dataset
    renamed = replace(
        found,
        normals=tuple(replace(each, name=f"train/good/x{each.name}") for each in found.normals),
        defects=tuple(replace(each, name="y" + each.name, kind="rust") for each in found.defects),
    )
    other_seed = task.recipe.model_copy(update={"seed": 2})
    assert held(replace(task, dataset=renamed, recipe=other_seed)) == held(task)
