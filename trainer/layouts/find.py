"""Finds the layout of a folder, or says in one sentence why it has none.

Layouts with a training and a test part are read in `trainer.layouts.parts`. Of the others what is
tested with is chosen here, by name:

plain      normal/, abnormal/ and mask/ (NAME or NAME_mask), in any spelling: good/ and bad/, OK/
           and NG/; VisA's Data/Images/Normal/, Data/Images/Anomaly/ and Data/Masks/Anomaly/. Every
           fifth normal picture is for the tests, and all defects are.
KSDD       ITEM/NAME and ITEM/NAME_label: good where the label is empty. Every fifth item is for the
           tests, with all its pictures.
annotated  pictures with COCO, LabelMe or CVAT files. Folders train/ and test/ are obeyed, else the
           rule of the plain layout holds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from engines.pictures.files import FileAccount, is_mask_folder, is_picture
from engines.pictures.rules import AS_STORED, PictureRules
from trainer.dataset import GOOD, TEST_STEP, Dataset, Sample
from trainer.errors import DatasetError
from trainer.layouts.annotations import Annotation, read_annotations
from trainer.layouts.dagm import read_dagm
from trainer.layouts.mask_files import MaskFiles
from trainer.layouts.names import is_good, is_test, is_training, is_validation
from trainer.layouts.parts import mask_roots, parted, read_beside, read_mvtec
from trainer.layouts.samples import SampleReader, check_shared
from trainer.layouts.tree import FolderTree

_FORMS = (
    "train/good (MVTec), train/ok (BTAD), train/NAME_GT.png (KolektorSDD2), Train/Label (DAGM), "
    "ITEM/NAME_label (KolektorSDD), annotations of COCO, LabelMe or CVAT, nor normal (normal, "
    "abnormal, mask)"
)
_SHOWN = 20
_PLACES = ("", "Data/Images", "images", "Images")  # where the folders of kinds may lie


def find_samples(folder: Path, rules: PictureRules = AS_STORED) -> Dataset:
    """Find the pictures of a folder in any of the layouts.

    Args:
        folder: of one data set.
        rules: how its picture files are read.

    Raises:
        DatasetError: none of the layouts, several categories, or no normal pictures.
    """
    tree = FolderTree(folder)
    dataset = _read(tree)
    if dataset is None:
        raise DatasetError(_unknown(tree))
    return _with_rules(_with_normals(folder, dataset), rules)


def find_datasets(folder: Path, rules: PictureRules = AS_STORED) -> tuple[Dataset, ...]:
    """Find one dataset, or, in a folder of several, all of them by name.

    Args:
        folder: of one data set, or of several.
        rules: how their picture files are read.

    Raises:
        DatasetError: none, or one that cannot be read.
    """
    tree = FolderTree(folder)
    dataset = _read(tree)
    if dataset is not None:
        return (_with_rules(_with_normals(folder, dataset), rules),)
    if _kinds_of_one(tree) or not _categories(tree):
        raise DatasetError(_unknown(tree))
    return tuple(find_samples(path, rules) for path in _with_pictures(tree))


def _with_rules(dataset: Dataset, rules: PictureRules) -> Dataset:
    """Return a dataset whose samples are read by `rules`."""
    if rules == AS_STORED:
        return dataset
    normals, test, defects = (
        tuple(replace(sample, rules=rules) for sample in part)
        for part in (dataset.normals, dataset.test, dataset.defects)
    )
    return replace(dataset, normals=normals, test=test, defects=defects)


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


def _kinds_of_one(tree: FolderTree) -> str:
    """Return a sentence if the folders are not data sets, but kinds of one with unclear names."""
    found = {path.name: _read_or_none(path) for path in _with_pictures(tree)}
    parts = {name: dataset for name, dataset in found.items() if dataset is not None}
    bad = [name for name, dataset in parts.items() if not dataset.normals and dataset.defects]
    good = [name for name, dataset in parts.items() if dataset.normals and not dataset.defects]
    good = [name for name in good if all(s.kind == GOOD for s in parts[name].test)]
    if not bad or len(good) != 1 or len(bad) + 1 < len(parts):
        return ""
    return (
        f"{tree.folder} holds defects alone in {', '.join(bad[:_SHOWN])} and good parts alone in "
        f"{good[0]}, so these are kinds of one product: rename {good[0]} to good"
    )


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
        lambda: _read_plain(tree, annotations),
        lambda: _read_items(tree),
        lambda: _read_annotated(tree, annotations),
    )
    for reader in readers:
        dataset = reader()
        if dataset is not None:
            samples = (*dataset.normals, *dataset.defects, *dataset.test)
            check_shared(tree, samples)
            return replace(dataset, files=tree.files_account(samples))
    return None


def _unknown(tree: FolderTree) -> str:
    """Return a sentence on what was looked for, and on categories that may have been meant."""
    if sentence := _kinds_of_one(tree):
        return sentence
    categories = _categories(tree)
    if categories:
        named = ", ".join(categories[:_SHOWN])
        return f"{tree.folder} holds {len(categories)} categories, give the folder of one: {named}"
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


def _read_plain(tree: FolderTree, annotations: Mapping[str, Annotation]) -> Dataset | None:
    """Read folders of good and of defective pictures; None where there is no good one."""
    for place in _PLACES:
        kinds = [kind for kind in tree.folders(place) if not is_mask_folder(kind)]
        if any(is_good(kind) for kind in kinds):
            above = str(PurePosixPath(place).parent) if "/" in place else ""
            reader = SampleReader(tree, mask_roots(tree, place, above), annotations)
            samples = [sample for kind in kinds for sample in reader.folder(place, kind)]
            return _every_fifth(tree, samples)
    return None


def _read_items(tree: FolderTree) -> Dataset | None:
    """Read folders of items with a label beside each picture; None where there are none."""
    files = MaskFiles(tree)
    items = [item for item in tree.folders("") if tree.pictures(item)]
    if not any(files.beside(name) for item in items for name in tree.pictures(item)):
        return None
    reader = SampleReader(tree, (), {})
    train: list[Sample] = []
    test: list[Sample] = []
    for number, item in enumerate(items, 1):
        for name in tree.pictures(item):
            wanted = f"{tree.path(name).stem}_label.bmp beside it"
            samples = reader.labelled(name, files.beside(name), wanted)
            (train if number % TEST_STEP else test).extend(samples)
    return parted(tree, train, test)


def _read_annotated(tree: FolderTree, annotations: Mapping[str, Annotation]) -> Dataset | None:
    """Read pictures that annotation files label; None where there are no such files."""
    if not annotations:
        return None
    reader = SampleReader(tree, (), annotations)
    samples = [s for name in tree.pictures_below("") for s in reader.annotated(name)]
    if not any(is_training(_part(sample)) for sample in samples):
        return _every_fifth(tree, samples)
    train = [s for s in samples if is_training(_part(s)) or is_validation(_part(s))]
    test = [s for s in samples if is_test(_part(s))]
    return parted(tree, train, test)


def _part(sample: Sample) -> str:
    parts = PurePosixPath(sample.name).parts[:-1]
    for part in parts:
        if is_training(part) or is_validation(part) or is_test(part):
            return part
    return ""


def _every_fifth(tree: FolderTree, samples: Sequence[Sample]) -> Dataset:
    normals = [sample for sample in samples if sample.kind == GOOD]
    defects = [sample for sample in samples if sample.kind != GOOD]
    if not defects:
        return parted(tree, normals, ())
    tested = normals[TEST_STEP - 1 :: TEST_STEP]
    kept = {sample.name for sample in tested}
    learned = [sample for sample in normals if sample.name not in kept]
    return replace(parted(tree, learned, [*tested, *defects]), test_chosen=True)
