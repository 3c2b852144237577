"""Finds the layout of a folder, or says in one sentence why it has none."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engines.picture_files import FileAccount, is_picture
from trainer.dataset import Dataset
from trainer.errors import DatasetError
from trainer.layouts.annotations import read_annotations
from trainer.layouts.names import is_good, is_training
from trainer.layouts.parts import read_beside, read_dagm, read_mvtec
from trainer.layouts.samples import check_shared
from trainer.layouts.tree import FolderTree
from trainer.layouts.whole import read_annotated, read_items, read_plain

_FORMS = (
    "train/good (MVTec), train/ok (BTAD), train/NAME_GT.png (KolektorSDD2), Train/Label (DAGM), "
    "ITEM/NAME_label (KolektorSDD), annotations of COCO, LabelMe or CVAT, nor normal (normal, "
    "abnormal, mask)"
)
_SHOWN = 20


def find_samples(folder: Path) -> Dataset:
    """Find the pictures of a folder in any of the layouts.

    Raises:
        DatasetError: none of the layouts, several categories, or no normal pictures.
    """
    tree = FolderTree(folder)
    dataset = _read(tree)
    if dataset is None:
        raise DatasetError(_unknown(tree))
    return _with_normals(folder, dataset)


def find_datasets(folder: Path) -> tuple[Dataset, ...]:
    """Find one dataset, or, in a folder of several, all of them by name.

    Raises:
        DatasetError: none, or one that cannot be read.
    """
    tree = FolderTree(folder)
    dataset = _read(tree)
    if dataset is not None:
        return (_with_normals(folder, dataset),)
    if not _categories(tree):
        raise DatasetError(_unknown(tree))
    return tuple(find_samples(path) for path in _with_pictures(tree))


def _with_normals(folder: Path, dataset: Dataset) -> Dataset:
    if not dataset.normals:
        raise DatasetError(_no_normals(folder, dataset.files))
    return dataset


def _no_normals(folder: Path, files: FileAccount) -> str:
    return f"{folder} holds no pictures of normal parts to learn from ({files.line()})"


def _has_empty_good(folder: Path) -> bool:
    """Return whether there is a folder for good parts, without any file."""
    return any(
        is_good(path.name)
        for pattern in ("*", "*/*")
        for path in folder.glob(pattern)
        if path.is_dir() and not any(path.iterdir())
    )


def _with_pictures(tree: FolderTree) -> list[Path]:
    """Return the folders that hold pictures, each meant to be a dataset."""
    return [
        tree.path(name)
        for name in tree.folders("")
        if any(is_picture(file) for file in tree.names() if file.startswith(f"{name}/"))
    ]


def _categories(tree: FolderTree) -> list[str]:
    return [path.name for path in _with_pictures(tree) if _read_or_none(path) is not None]


def _read_or_none(folder: Path) -> Dataset | None:
    try:
        return _read(FolderTree(folder))
    except DatasetError:
        return None


def _read(tree: FolderTree) -> Dataset | None:
    annotations = read_annotations(tree)
    readers: tuple[Callable[[], Dataset | None], ...] = (
        lambda: read_mvtec(tree, annotations),
        lambda: read_dagm(tree),
        lambda: read_beside(tree),
        lambda: read_plain(tree, annotations),
        lambda: read_items(tree),
        lambda: read_annotated(tree, annotations),
    )
    for reader in readers:
        dataset = reader()
        if dataset is not None:
            samples = (*dataset.normals, *dataset.defects, *dataset.test)
            check_shared(tree, samples)
            return replace(dataset, files=tree.files_account(samples))
    return None


def _unknown(tree: FolderTree) -> str:
    """Say what was looked for, and where categories lie that could have been meant."""
    categories = _categories(tree)
    if categories:
        named = ", ".join(categories[:_SHOWN])
        return (
            f"{tree.folder} holds {len(categories)} categories, give the folder of one: {named}"
        )
    training = [part for part in tree.folders("") if is_training(part)]
    if _has_empty_good(tree.folder):
        return _no_normals(tree.folder, tree.files_account(()))
    kinds = [f"{part}/{kind}" for part in training for kind in tree.folders(part)]
    if kinds:
        return (
            f"{tree.folder} holds {', '.join(kinds[:_SHOWN])}, and none of them is named good, ok "
            "or normal: put the pictures of good parts into train/good"
        )
    if any(tree.pictures(part) for part in training):
        return (
            f"{tree.folder} holds pictures in {training[0]} and nothing says which are good: put "
            "the pictures of good parts into train/good, those of defects into test/KIND"
        )
    return (
        f"{tree.folder} holds neither {_FORMS}: put the pictures of good parts into train/good or "
        f"normal ({tree.files_account(()).line()})"
    )
