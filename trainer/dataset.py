"""Pictures to learn from and to judge by: MVTec layout, or folders normal / abnormal / mask.

MVTec layout: `train/good`, `test/good`, `test/KIND`, `ground_truth/KIND/NAME_mask.png`.
Plain layout: `normal`, and where there are defects `abnormal` and `mask` (`NAME` or `NAME_mask`).
A plain folder has no test pictures of normal parts: with an `abnormal` folder, every fifth normal
picture by name is kept from training and tests.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.manifest import Snapshot, file_sha256
from engines.pictures import PICTURE_SUFFIXES, read_picture, resize_picture
from trainer.errors import DatasetError

GOOD = "good"  # the kind of a normal picture
_PLAIN_TEST_STEP = 5
_HALF = 127


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture with its label."""

    name: str  # its path in the data folder, with slashes
    path: Path
    kind: str  # GOOD, or which defect
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a folder holds, by name."""

    name: str
    normals: tuple[Sample, ...]  # to learn from
    test: tuple[Sample, ...]  # to judge by, normal and defective; may be empty


@dataclass(frozen=True, slots=True)
class Pictures:
    """Samples that could be read, with their pixels."""

    samples: tuple[Sample, ...]
    pixels: NDArray[np.uint8]  # [N, H, W, 3], RGB
    unreadable: tuple[str, ...]  # one sentence for each picture that was left out


def find_samples(folder: Path) -> Dataset:
    """Find the pictures of a folder in either layout.

    Raises:
        DatasetError: neither layout, or no normal pictures.
    """
    if (folder / "train" / GOOD).is_dir():
        normals, test = _listed(folder, "train/good", GOOD), _mvtec_test(folder)
    elif (folder / "normal").is_dir():
        normals, test = _plain(folder)
    else:
        raise DatasetError(
            f"{folder} holds neither train/good (MVTec layout) nor normal "
            "(normal, abnormal, mask): put the pictures of good parts into one of them"
        )
    if not normals:
        raise DatasetError(f"{folder} holds no pictures of normal parts to learn from")
    return Dataset(folder.resolve().name, tuple(normals), tuple(test))


def load_pictures(
    samples: Sequence[Sample],
    size: tuple[int, int],
    on_read: Callable[[], None] = lambda: None,
) -> Pictures:
    """Read and resize samples to `size` (height, width); an unreadable one is named, not fatal.

    Args:
        samples: which.
        size: of all of them, pixels; aspect ratios are not kept.
        on_read: called after each.

    Raises:
        DatasetError: none of them is readable.
    """
    pixels = np.empty((len(samples), *size, 3), np.uint8)
    read: list[Sample] = []
    unreadable: list[str] = []
    for sample in samples:
        try:
            pixels[len(read)] = resize_picture(read_picture(sample.path), size)
            read.append(sample)
        except PictureError as error:
            unreadable.append(str(error))
        on_read()
    if not read:
        raise DatasetError(f"none of {len(samples)} pictures is readable, first: {unreadable[:1]}")
    return Pictures(tuple(read), pixels[: len(read)], tuple(unreadable))


def load_mask(sample: Sample, size: tuple[int, int]) -> NDArray[np.bool_] | None:
    """Read the mask of a sample as bool [H, W] of `size`: empty for normal ones, None if unknown.

    Raises:
        PictureError: the mask file is unreadable.
    """
    if sample.kind == GOOD:
        return np.zeros(size, np.bool_)
    if sample.mask is None:
        return None
    grey = read_picture(sample.mask).max(axis=2)
    marked = (grey > (_HALF if grey.max() > 1 else 0)).astype(np.uint8)
    resized = cv2.resize(marked, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
    return np.asarray(resized, np.bool_)


def snapshot(name: str, samples: Sequence[Sample]) -> Snapshot:
    """Hash the sorted names and contents of what a model was made from."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda sample: sample.name):
        digest.update(f"{sample.name}\0{file_sha256(sample.path)}\n".encode())
    normals = sum(sample.kind == GOOD for sample in samples)
    return Snapshot(
        name=name,
        sha256=digest.hexdigest(),
        normals=normals,
        defects=len(samples) - normals,
    )


def split(
    pictures: Pictures, held_share: float, seed: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Draw which pictures to learn from and which to hold out; both sorted, each at least one.

    Raises:
        DatasetError: fewer than two pictures.
    """
    count = len(pictures.samples)
    if count < 2:  # noqa: PLR2004  # one to learn from, one to calibrate with
        raise DatasetError(f"{count} readable normal picture: at least 2 are needed, better 100")
    held = min(max(1, round(count * held_share)), count - 1)
    order = np.random.default_rng(seed).permutation(count)
    return np.sort(order[held:]), np.sort(order[:held])


def _listed(
    folder: Path, inner: str, kind: str, masks: dict[str, Path] | None = None
) -> list[Sample]:
    found = [path for path in (folder / inner).glob("*") if _is_picture(path)]
    return [
        Sample(f"{inner}/{path.name}", path, kind, _mask_of(path, masks or {}))
        for path in sorted(found)
    ]


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()


def _mask_of(path: Path, masks: dict[str, Path]) -> Path | None:
    return masks.get(f"{path.stem}_mask") or masks.get(path.stem)


def _masks(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*")) if _is_picture(path)}


def _mvtec_test(folder: Path) -> list[Sample]:
    kinds = sorted(path.name for path in (folder / "test").glob("*") if path.is_dir())
    kinds.sort(key=lambda kind: kind != GOOD)
    return [
        sample
        for kind in kinds
        for sample in _listed(folder, f"test/{kind}", kind, _masks(folder / "ground_truth" / kind))
    ]


def _plain(folder: Path) -> tuple[list[Sample], list[Sample]]:
    normals = _listed(folder, "normal", GOOD)
    defects = _listed(folder, "abnormal", "abnormal", _masks(folder / "mask"))
    if not defects:
        return normals, []
    tested = normals[_PLAIN_TEST_STEP - 1 :: _PLAIN_TEST_STEP]
    learned = [sample for sample in normals if sample not in tested]
    return learned, tested + defects
