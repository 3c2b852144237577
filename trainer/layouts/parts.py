"""Layouts with a training and a test part.

MVTec      train/KIND/, test/KIND/, ground_truth/KIND/NAME_mask, and relatives: LOCO has a folder of
           masks for each picture, AD 2 test_public/ with its own ground_truth/, 3D-AD KIND/rgb/
           and KIND/gt/; BTAD and VisA's 1cls name other kinds. Pictures of validation/ are normals
           to learn from or to calibrate with.
KSDD2      train/NAME and train/NAME_GT, test/ likewise: good where NAME_GT is empty
"""

from collections.abc import Iterable, Mapping, Sequence

from engines.pictures.files import is_mask_folder
from trainer.dataset import GOOD, Dataset, Sample
from trainer.layouts.annotations import Annotation
from trainer.layouts.mask_files import MaskFiles
from trainer.layouts.names import (
    is_good,
    is_test,
    is_training,
    is_validation,
    is_without_labels,
)
from trainer.layouts.samples import SampleReader
from trainer.layouts.tree import FolderTree, join

_NO_KIND = "in no folder of a kind"
_NO_LABELS = "test pictures without published labels"


def mask_roots(tree: FolderTree, *inner: str) -> list[str]:
    """Return the folders of masks directly within some folders."""
    return [
        join(folder, name)
        for folder in inner
        for name in tree.folders(folder)
        if is_mask_folder(name)
    ]


def parted(tree: FolderTree, train: Sequence[Sample], test: Sequence[Sample]) -> Dataset:
    """Make a dataset of a training part, which may hold defects, and a test part."""
    normals, defects = normals_and_defects(train)
    return Dataset(
        tree.name,
        normals,
        tuple(sorted(test, key=lambda sample: sample.kind != GOOD)),
        defects,
        tuple(tree.unreadable),
        notes=tuple(tree.notes),
    )


def _in_order(parts: Sequence[str]) -> list[str]:
    """Sort training parts first, then those to calibrate with, then the others."""
    return sorted(parts, key=lambda part: (not is_training(part), not is_validation(part)))


def normals_and_defects(
    samples: Iterable[Sample],
) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
    """Part pictures of good parts from those of defects."""
    every = tuple(samples)
    normals = tuple(sample for sample in every if sample.kind == GOOD)
    return normals, tuple(sample for sample in every if sample.kind != GOOD)


def read_mvtec(tree: FolderTree, annotations: Mapping[str, Annotation]) -> Dataset | None:
    """Read folders of kinds in train/, test/ and validation/; None where there are none."""
    top = tree.folders("")
    if not any(is_good(kind) for part in top if is_training(part) for kind in tree.folders(part)):
        return None
    train: list[Sample] = []
    test: list[Sample] = []
    for part in _in_order(top):
        if is_without_labels(part):
            for name in tree.pictures_below(part):
                tree.leave_out(name, _NO_LABELS)
        if not (is_training(part) or is_validation(part) or is_test(part)):
            continue
        reader = SampleReader(tree, mask_roots(tree, part, ""), annotations)
        for name in tree.pictures(part):
            tree.leave_out(name, _NO_KIND)
        samples = [
            sample
            for kind in tree.folders(part)
            if not is_mask_folder(kind)
            for sample in reader.folder(part, kind)
        ]
        (test if is_test(part) else train).extend(samples)
    return parted(tree, train, test)


def read_beside(tree: FolderTree) -> Dataset | None:
    """Read train/ and test/ with a mask beside each picture; None where there are none."""
    top = tree.folders("")
    files = MaskFiles(tree)
    if not any(files.beside(n) for part in top if is_training(part) for n in tree.pictures(part)):
        return None
    train: list[Sample] = []
    test: list[Sample] = []
    reader = SampleReader(tree, (), {})
    for part in _in_order(top):
        if is_training(part) or is_validation(part) or is_test(part):
            for name in tree.pictures(part):
                wanted = f"{tree.path(name).stem}_GT.png beside it"
                samples = reader.labelled(name, files.beside(name), wanted)
                (test if is_test(part) else train).extend(samples)
    return parted(tree, train, test)
