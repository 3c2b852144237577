"""Layouts without parts: what is tested with is chosen here, by name.

plain      normal/, abnormal/ and mask/ (NAME or NAME_mask), in any spelling: good/ and bad/, OK/
           and NG/; VisA's Data/Images/Normal/, Data/Images/Anomaly/ and Data/Masks/Anomaly/. Every
           fifth normal picture is for the tests, and all defects are.
KSDD       ITEM/NAME and ITEM/NAME_label: good where the label is empty. Every fifth item is for the
           tests, with all its pictures.
annotated  pictures with COCO, LabelMe or CVAT files. Folders train/ and test/ are obeyed, else the
           rule of the plain layout holds.
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from engines.picture_files import is_mask_folder
from trainer.dataset import GOOD, Dataset, Sample
from trainer.layouts.annotations import Annotation
from trainer.layouts.mask_files import MaskFiles
from trainer.layouts.names import is_good, is_test, is_training, is_validation
from trainer.layouts.parts import mask_roots, parted
from trainer.layouts.samples import SampleReader
from trainer.layouts.tree import FolderTree

_TEST_STEP = 5
_PLACES = ("", "Data/Images", "images", "Images")  # where the folders of kinds may lie


def read_plain(tree: FolderTree, annotations: Mapping[str, Annotation]) -> Dataset | None:
    """Read folders of good and of defective pictures; None where there is no good one."""
    for place in _PLACES:
        kinds = [kind for kind in tree.folders(place) if not is_mask_folder(kind)]
        if any(is_good(kind) for kind in kinds):
            above = str(PurePosixPath(place).parent) if "/" in place else ""
            reader = SampleReader(tree, mask_roots(tree, place, above), annotations)
            samples = [sample for kind in kinds for sample in reader.folder(place, kind)]
            return _every_fifth(tree, samples)
    return None


def read_items(tree: FolderTree) -> Dataset | None:
    """Read folders of items with a label beside each picture; None where there are none."""
    files = MaskFiles(tree)
    items = [
        item
        for item in tree.folders("")
        if any(files.beside(name) for name in tree.pictures(item))
    ]
    if not items:
        return None
    reader = SampleReader(tree, (), {})
    train: list[Sample] = []
    test: list[Sample] = []
    for number, item in enumerate(items, 1):
        for name in tree.pictures(item):
            wanted = f"{tree.path(name).stem}_label.bmp beside it"
            samples = reader.labelled(name, files.beside(name), wanted)
            (train if number % _TEST_STEP else test).extend(samples)
    return parted(tree, train, test)


def read_annotated(tree: FolderTree, annotations: Mapping[str, Annotation]) -> Dataset | None:
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
    tested = normals[_TEST_STEP - 1 :: _TEST_STEP]
    kept = {sample.name for sample in tested}
    learned = [sample for sample in normals if sample.name not in kept]
    return parted(tree, learned, [*tested, *defects])
