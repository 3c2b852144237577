"""Pictures of a data folder -> the store, one by one; what cannot be read is named."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures import read_mask, read_picture
from trainer.dataset import GOOD, Dataset, Sample, resize_mask
from trainer.errors import SampleError
from trainer.progress import Steps
from trainer.samples.records import Added, ImportReport, Source

Mask = NDArray[np.bool_]
Add = Callable[[NDArray[np.uint8], str, Mask | None, Source], Added]


def import_samples(dataset: Dataset, add: Add, steps: Steps) -> ImportReport:
    """Add every picture of a dataset, those of its test part too.

    Args:
        dataset: as `trainer.layouts` finds it.
        add: takes pixels, kind, mask and source.
        steps: shows how far it is.

    Raises:
        StoreError: the disk is full; what was added stays, a repeat goes on.
    """
    samples = (*dataset.normals, *dataset.defects, *dataset.test)
    states = {"new": 0, "known": 0, "changed": 0}
    unreadable = list(dataset.unreadable)
    without_mask = 0
    with steps.step("taking pictures", len(samples)) as advance:
        for sample in samples:
            try:
                pixels = read_picture(sample.path)
                mask = _mask(sample, pixels, unreadable)
                source = Source(f"{dataset.name}/{sample.name}")
                states[add(pixels, sample.kind, mask, source).state] += 1
                without_mask += sample.kind != GOOD and mask is None
            except (PictureError, SampleError) as error:
                unreadable.append(_named(sample, error))
            advance(1)
    return ImportReport(
        states["new"], states["known"], states["changed"], without_mask, tuple(unreadable)
    )


def _mask(sample: Sample, pixels: NDArray[np.uint8], unreadable: list[str]) -> Mask | None:
    """Read a defect's mask at its picture's size; one of no use is named, its picture is taken."""
    if sample.mask is None or sample.kind == GOOD:
        return None
    try:
        mask = resize_mask(read_mask(sample.mask), (pixels.shape[0], pixels.shape[1]))
    except PictureError as error:
        unreadable.append(str(error))
        return None
    return mask if mask.any() else None


def _named(sample: Sample, error: Exception) -> str:
    said = str(error)
    return said if str(sample.path) in said else f"{sample.path}: {said}"
