"""What training and tests see of a store, as datasets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

from trainer.dataset import GOOD, Dataset, Sample
from trainer.layouts.parts import normals_and_defects
from trainer.samples.files import mask_path, picture_path
from trainer.samples.index import Index
from trainer.samples.intake import PREDICTED
from trainer.samples.records import Counts, Picture, SampleStatus
from trainer.samples.snapshots import SnapshotRecord


def training_of(folder: Path, index: Index, record: SnapshotRecord) -> Dataset:
    """Return the pictures of a snapshot with the labels that they had then."""
    samples: list[Sample] = []
    unreadable: list[str] = []
    groups = index.groups()
    for seen in record.pictures:
        then = Picture(
            seen.sha,
            seen.kind,
            golden=False,
            place=SampleStatus.KEPT,
            mask=seen.mask,
            mask_kind=seen.mask_kind,
        )
        sample = sample_of(folder, then, index.picture(seen.sha) or then, groups.get(seen.sha, ""))
        if not sample.path.is_file():
            unreadable.append(_gone(sample.path))
        elif seen.kind != GOOD and sample.mask is None:
            unreadable.append(f"{sample.path}: no mask says where the {seen.kind} is")
        else:
            samples.append(sample)
    normals, defects = normals_and_defects(samples)
    return Dataset(_name(folder), normals, (), defects, tuple(unreadable))


def golden_of(folder: Path, index: Index) -> Dataset:
    """Return the golden pictures, normal ones first.

    A mask that an engine drew, though a person accepted it, is no truth to judge engines by: that
    engine would seem to be right to the pixel. Such a defect comes without a mask.
    """
    golden = [each for each in index.pictures(SampleStatus.KEPT) if each.golden]
    drawn, groups = _drawn_by_engines(index), index.groups()
    samples = [
        sample_of(
            folder,
            replace(each, mask="") if (each.sha, each.mask) in drawn else each,
            each,
            groups.get(each.sha, ""),
        )
        for each in golden
    ]
    there: list[Sample] = []
    gone: list[str] = []
    for each in samples:
        if each.path.is_file():
            there.append(each)
        else:
            gone.append(_gone(each.path))
    normals, defects = normals_and_defects(there)
    return Dataset(_name(folder), (), normals + defects, unreadable=tuple(gone))


def _drawn_by_engines(index: Index) -> set[tuple[str, str]]:
    """Return picture and mask where no label came with a mask of its own."""
    statements = index.label_records()
    predicted = {(each.sha, each.mask) for each in statements if each.note == PREDICTED}
    return predicted - {(each.sha, each.mask) for each in statements if each.note != PREDICTED}


def counts_of(folder: Path, index: Index) -> Counts:
    """Count pictures by where they are."""
    every = index.pictures()
    kept = [each for each in every if each.place is SampleStatus.KEPT]
    places = Counter(each.place for each in every)
    return Counts(
        training=dict(Counter(each.kind for each in kept if not each.golden)),
        golden=dict(Counter(each.kind for each in kept if each.golden)),
        incoming=places[SampleStatus.INCOMING],
        quarantine=places[SampleStatus.QUARANTINE],
        aside=places[SampleStatus.ASIDE],
        rejected=places[SampleStatus.REJECTED],
        missing=sum(not (folder / picture_path(each)).is_file() for each in every),
    )


def sample_of(folder: Path, label: Picture, where: Picture, group: str = "") -> Sample:
    """Make a sample of a picture with the label of one row, lying where another says."""
    path = folder / picture_path(where)
    inner = mask_path(label)
    mask = folder / inner if inner and (folder / inner).is_file() else None
    return Sample(picture_path(label).as_posix(), path, label.kind, mask, group)


def _gone(path: Path) -> str:
    return f"{path} is gone: copy a backup of it"


def _name(folder: Path) -> str:
    return folder.resolve().name
