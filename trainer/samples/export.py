"""The store's pictures -> a plain folder in MVTec layout, for any other program."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from trainer.dataset import GOOD, Sample
from trainer.errors import StoreError
from trainer.progress import Steps
from trainer.samples.files import cannot_write


def export_samples(
    learned: Iterable[Sample], tested: Iterable[Sample], folder: Path, steps: Steps
) -> int:
    """Copy pictures into a folder that is empty or new; returns how many.

    Normal ones to learn from go to train/good, defects to learn from to train/KIND, all golden ones
    to test/KIND, masks to ground_truth/KIND/NAME_mask.

    Raises:
        StoreError: the folder holds something, or cannot be written.
    """
    if folder.exists() and any(folder.iterdir()):
        raise StoreError(f"{folder} holds something already: give a new folder to export to")
    copies = [(each, "train") for each in learned] + [(each, "test") for each in tested]
    with steps.step("copying", len(copies)) as advance:
        for sample, part in copies:
            _copy(sample.path, folder / part / sample.kind / sample.path.name)
            if sample.mask and sample.kind != GOOD:
                name = f"{sample.path.stem}_mask{sample.mask.suffix}"
                _copy(sample.mask, folder / "ground_truth" / sample.kind / name)
            advance(1)
    return len(copies)


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    except OSError as error:
        raise cannot_write(target, error) from error
