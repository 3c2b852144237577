"""Reads a data folder as the flags of a command ask, and prints what became of its files."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from engines.commandline.picture_flags import picture_rules
from trainer.data_flags import DataFlags
from trainer.dataset import Dataset
from trainer.group_rules import GroupRule, name_groups_of_all
from trainer.layouts.find import find_datasets, find_samples
from trainer.results.report import files_line, loss_lines


def read_folder(folder: Path, flags: DataFlags, console: Console) -> Dataset:
    """Find the samples of a folder with their groups.

    Raises:
        DatasetError: as `find_samples` and `name_groups`.
    """
    return _announced((find_samples(folder, picture_rules(flags)),), flags, console)[0]


def read_folders(folder: Path, flags: DataFlags, console: Console) -> tuple[Dataset, ...]:
    """Find one dataset, or all of a folder of several, with their groups.

    Raises:
        DatasetError: as `find_datasets` and `name_groups_of_all`.
    """
    return _announced(find_datasets(folder, picture_rules(flags)), flags, console)


def print_losses(dataset: Dataset, console: Console) -> None:
    """Print which pictures are of unknown label, and which labels are doubtful.

    For commands that do not report unreadable pictures themselves.
    """
    for line in loss_lines(dataset.unreadable, dataset.notes):
        console.print(line, soft_wrap=True, markup=False)


def print_json(value: Mapping[str, object]) -> None:
    """Print an object on stdout, which holds nothing else in a command with --json."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")


def _announced(
    datasets: tuple[Dataset, ...], flags: DataFlags, console: Console
) -> tuple[Dataset, ...]:
    for dataset in datasets:
        console.print(files_line(dataset), soft_wrap=True, markup=False)
    return name_groups_of_all(datasets, GroupRule(flags.groups, flags.group_pattern))
