"""`trainer-reproduce`: trains every row of a table with several seeds, and prints it."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from rich.console import Console

from engines.commandline.terminal import Terminal
from engines.files import write_atomic
from trainer.commands.data_folder import print_json, print_losses, read_folders
from trainer.commands.train_prn import prn_recipe
from trainer.dataset import Dataset
from trainer.errors import DatasetError
from trainer.networks.backbones import Backbone, load_backbone
from trainer.progress import TerminalSteps
from trainer.reproduce.rows import TABLES, TableRow
from trainer.reproduce.tables import comparison, results_json
from trainer.reproduce.trial import BASELINES, TrialResult, run_baseline, run_trial
from trainer.seen import apart_from
from trainer.settings import ReproduceSettings
from trainer.training.device import find_device
from trainer.training.prn.data import SupervisedRecipe

_UNSAFE = re.compile(r"[^a-z0-9]+")


def reproduce(settings: ReproduceSettings) -> None:
    """Train and judge all rows; finished trainings are read, not repeated."""
    console = Terminal(stderr=settings.as_json)
    cv2.setNumThreads(1)  # batches are made while training runs, which needs the cores
    table = TABLES[settings.table]
    datasets = _apart(read_folders(settings.data, settings, console), console)
    backbone = load_backbone(settings.backbone, settings.weights)
    device = find_device(settings.device)
    recipe = prn_recipe(settings, settings.model, device)
    # The paper's map is the head's; one row of table 4 adds the untrained residual.
    base = replace(recipe, parts=replace(recipe.parts, residual_map=False))
    found: dict[str, list[TrialResult]] = {}
    with TerminalSteps(console) as steps:
        for name in BASELINES:
            for dataset, recipe, folder in _runs(name, base, datasets, settings):
                console.print(f"{name}: {dataset.name}, seed {recipe.seed}")
                result = run_baseline(name, dataset, backbone, recipe, folder, steps)
                found.setdefault(name, []).append(result)
        for row in table.rows:
            trained = _trained(row, base, datasets, settings, backbone, console, steps, device)
            found[row.name] = list(trained)
    write_atomic(settings.out / f"{settings.table}.json", results_json(found))
    if settings.as_json:
        files = {dataset.name: dataset.files.as_json() for dataset in datasets}
        print_json({"files": files, "results": json.loads(results_json(found))})
    console.print(comparison(table, found))
    console.print(table.note, soft_wrap=True)


def _apart(datasets: tuple[Dataset, ...], console: Console) -> tuple[Dataset, ...]:
    """Remove test pictures that copy, or share a group with, pictures to learn from."""
    kept = tuple(apart_from(dataset, dataset.normals) for dataset in datasets)
    for before, after in zip(datasets, kept, strict=True):
        print_losses(before, console)
        if gone := len(before.test) - len(after.test):
            console.print(
                f"{before.name}: {gone} test pictures nearly copy, or share a group with, pictures "
                "to learn from: no row is tested with them",
                soft_wrap=True,
                markup=False,
            )
        if not after.test:
            raise DatasetError(
                f"{before.name}: no test picture is left that shares no group with pictures to "
                "learn from: name other groups, or test with other parts"
            )
    return kept


def _trained(
    row: TableRow,
    base: SupervisedRecipe,
    datasets: tuple[Dataset, ...],
    settings: ReproduceSettings,
    backbone: Backbone,
    console: Console,
    steps: TerminalSteps,
    device: torch.device,
) -> Iterator[TrialResult]:
    for dataset, recipe, folder in _runs(row.name, row.change(base), datasets, settings):
        console.print(f"{row.name}: {dataset.name}, seed {recipe.seed}")
        yield run_trial(dataset, backbone, recipe, folder, steps, device, settings.weights)


def _runs(
    name: str,
    recipe: SupervisedRecipe,
    datasets: tuple[Dataset, ...],
    settings: ReproduceSettings,
) -> Iterator[tuple[Dataset, SupervisedRecipe, Path]]:
    """Yield every dataset with every seed, and the folder of its run."""
    for dataset in datasets:
        for seed in range(settings.seed, settings.seed + settings.seeds):
            folder = settings.out / _slug(name) / dataset.name / f"seed-{seed}"
            folder.mkdir(parents=True, exist_ok=True)
            yield dataset, replace(recipe, seed=seed), folder


def _slug(name: str) -> str:
    return _UNSAFE.sub("-", name.lower()).strip("-")
