"""Pictures between data folders in MVTec layout and the store; what cannot be read is named."""

import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from trainer.dataset import GOOD, Dataset, FileNotes, Sample
from trainer.errors import MaskError, SampleError, StoreError
from trainer.progress import Steps
from trainer.samples.coco import FOLDER as COCO_FOLDER
from trainer.samples.coco import CocoFile
from trainer.samples.files import cannot_write
from trainer.samples.records import AddResult, ImportReport, LabelSource
from trainer.truth import cover, read_truth

Mask = NDArray[np.bool_]
Add = Callable[[NDArray[np.uint8], str, Mask | None, LabelSource, str], AddResult]


def import_samples(dataset: Dataset, add: Add, steps: Steps) -> ImportReport:
    """Add every picture of a dataset, those of its test part too.

    Args:
        dataset: as `trainer.layouts` finds it.
        add: takes pixels, kind, mask, source and group.
        steps: shows how far it is.

    Raises:
        StoreError: the disk is full; what was added stays, a repeat goes on.
    """
    samples = (*dataset.normals, *dataset.defects, *dataset.test)
    states = {"new": 0, "known": 0, "changed": 0}
    unreadable, doubts = list(dataset.unreadable), list(dataset.notes)
    without_mask, tally = 0, FileNotes()
    with steps.step("taking pictures", len(samples)) as advance:
        for sample in samples:
            try:
                decoded = sample.decode()
                pixels = decoded.pixels
                tally.add(sample.name, decoded)
                mask = _mask(sample, pixels, unreadable, doubts)
                source = LabelSource(f"{dataset.name}/{sample.name}")
                states[add(pixels, sample.kind, mask, source, sample.group).state] += 1
                without_mask += sample.kind != GOOD and mask is None
            except (PictureError, SampleError) as error:
                unreadable.append(_named(sample, error))
            advance(1)
    return ImportReport(
        states["new"],
        states["known"],
        states["changed"],
        without_mask,
        tuple(unreadable),
        (*tally.sentences(), *doubts),
    )


def _mask(
    sample: Sample, pixels: NDArray[np.uint8], unreadable: list[str], doubts: list[str]
) -> Mask | None:
    """Read a defect's mask at its picture's size; one of no use is named, its picture is taken."""
    if sample.mask is None or sample.kind == GOOD:
        return None
    try:
        mask = read_truth(sample, (pixels.shape[0], pixels.shape[1]))
    except MaskError as error:
        unreadable.append(str(error))
        return None
    if doubt := cover(sample, mask):
        doubts.append(doubt)
    return mask


def _named(sample: Sample, error: Exception) -> str:
    said = str(error)
    return said if str(sample.path) in said else f"{sample.path}: {said}"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What an export wrote."""

    pictures: int
    not_in_coco: int = 0  # defects without a mask


def export_samples(
    learned: Iterable[Sample],
    tested: Iterable[Sample],
    folder: Path,
    steps: Steps,
    *,
    coco: bool = False,
) -> ExportReport:
    """Copy pictures into a folder that is empty or new.

    Normal ones to learn from go to train/good, defects to learn from to train/KIND, all golden ones
    to test/KIND, masks to ground_truth/KIND/NAME_mask, COCO files to annotations/PART.json.

    Raises:
        StoreError: the folder holds something, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} holds something already: give a new folder to export to")
    copies = [(each, "train") for each in learned] + [(each, "test") for each in tested]
    kinds = sorted({sample.kind for sample, _ in copies} - {GOOD})
    files = {part: CocoFile(kinds) for part in ("train", "test")}
    with steps.step("copying", len(copies)) as advance:
        for sample, part in copies:
            name = f"{part}/{sample.kind}/{sample.path.name}"
            _copy(sample.path, folder / name)
            if sample.mask and sample.kind != GOOD:
                mask = f"{sample.path.stem}_mask{sample.mask.suffix}"
                _copy(sample.mask, folder / "ground_truth" / sample.kind / mask)
            if coco:
                files[part].add(name, sample)
            advance(1)
    if coco:
        for part, file in files.items():
            file.write(folder / COCO_FOLDER / f"{part}.json")
    return ExportReport(len(copies), sum(file.left_out for file in files.values()))


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error
