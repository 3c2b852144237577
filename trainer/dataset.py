"""Labelled pictures, and their pixels and masks at the size that a network takes."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import file_sha256
from engines.manifest import Snapshot
from engines.pictures.files import NO_FILES, FileAccount
from engines.pictures.read import DecodedPicture, describe_picture, read_content, resize_picture
from engines.pictures.rules import AS_STORED, PictureRules
from trainer.errors import DatasetError
from trainer.outlines import Outlines

GOOD = "good"  # the kind of a normal picture
TEST_STEP = 5  # of good pictures without a test part, every fifth one is tested with


@dataclass(frozen=True, slots=True)
class Sample:
    """One picture with its label."""

    name: str  # its path in the data folder, with slashes
    path: Path
    kind: str  # GOOD, or which defect
    mask: Path | None = None  # the file that says where the defect is
    group: str = ""  # pictures of one part, or shot in a row, share it; "": a group of its own
    more_masks: tuple[Path, ...] = ()  # where several files mark it
    outlines: Outlines | None = None  # where `mask` holds outlines in place of pixels
    rules: PictureRules = AS_STORED  # how its file is read

    def decode(self) -> DecodedPicture:
        """Read the file: its pixels, and what it says beside them.

        Raises:
            PictureError: as `read_picture`.
        """
        return describe_picture(read_content(self.path), str(self.path), self.rules)

    def read(self) -> NDArray[np.uint8]:
        """Read the pixels, uint8 [H, W, 3] RGB.

        Raises:
            PictureError: as `read_picture`.
        """
        return self.decode().pixels


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a folder holds, by name."""

    name: str
    normals: tuple[Sample, ...]  # to learn from
    test: tuple[Sample, ...]  # to judge by, normal and defective; may be empty
    defects: tuple[Sample, ...] = ()  # to learn from, of layouts with defects in the training part
    unreadable: tuple[str, ...] = ()  # one sentence for each picture whose label is not known
    files: FileAccount = NO_FILES  # what became of every file
    notes: tuple[str, ...] = ()  # one sentence for each label that is known in part only
    test_chosen: bool = False  # whether the test part was chosen here, as the folder has none


@dataclass(frozen=True, slots=True)
class Pictures:
    """Samples that could be read, with their pixels."""

    samples: tuple[Sample, ...]
    pixels: NDArray[np.uint8]  # [N, H, W, 3], RGB
    unreadable: tuple[str, ...]  # one sentence for each picture that was left out
    shas: tuple[str, ...] = ()  # of each, as `content_sha` gives it, before it was resized
    shapes: tuple[tuple[int, int], ...] = ()  # (height, width) of each, before it was resized
    notes: tuple[str, ...] = ()  # what was not taken as the files hold it, one sentence for each


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
    shas: list[str] = []
    shapes: list[tuple[int, int]] = []
    unreadable: list[str] = []
    tally = FileNotes()
    for sample in samples:
        try:
            decoded = sample.decode()
            picture = decoded.pixels
            pixels[len(read)] = resize_picture(picture, size)
            shas.append(content_sha(picture))
            shapes.append((picture.shape[0], picture.shape[1]))
            tally.add(sample.name, decoded)
            read.append(sample)
        except PictureError as error:
            unreadable.append(str(error))
        on_read()
    if not read:
        raise DatasetError(f"none of {len(samples)} pictures is readable, first: {unreadable[:1]}")
    return Pictures(
        tuple(read),
        pixels[: len(read)],
        tuple(unreadable),
        tuple(shas),
        tuple(shapes),
        tally.sentences(),
    )


class FileNotes:
    """Counts what files say that is not taken as it stands: orientation, depth, stray bytes."""

    def __init__(self) -> None:
        self._turned: list[str] = []
        self._deep: dict[int, list[str]] = {}  # by the bits that values use
        self._stray: list[str] = []

    def add(self, name: str, decoded: DecodedPicture) -> None:
        """Count a picture."""
        if decoded.orientation != 1:
            self._turned.append(name)
        if decoded.bits > 8:  # noqa: PLR2004
            self._deep.setdefault(decoded.bits, []).append(name)
        if decoded.stray_bytes:
            self._stray.append(name)

    def sentences(self) -> tuple[str, ...]:
        """Return a sentence for each thing that occurred."""
        said = (
            (
                self._turned,
                "carry an orientation, which is never applied: masks must fit the pixels stored",
            ),
            *((names, _scale_of(bits)) for bits, names in sorted(self._deep.items())),
            (self._stray, "hold stray bytes, which were skipped as --allow-stray-bytes asks"),
        )
        return tuple(
            f"{len(names)} pictures {what} (the first: {names[0]})" for names, what in said if names
        )


def _scale_of(bits: int) -> str:
    stated = "" if bits == 16 else " of a 16-bit file, as --picture-bits states"  # noqa: PLR2004
    return f"have {bits} bits{stated}: the upper 8 of them are taken"


def content_sha(pixels: NDArray[np.uint8] | NDArray[np.bool_]) -> str:
    """Hash shape and pixels, however a file holds them; hex. A sample store names pictures so."""
    digest = hashlib.sha256(f"{list(pixels.shape)}".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return digest.hexdigest()


def resize_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize bool [H, W] to `size` by the nearest pixel.

    A thin defect that falls between the pixels taken would be lost: then every pixel of `size` that
    the defect touches is marked.
    """
    marked, (height, width) = mask.astype(np.uint8), size
    resized = cv2.resize(marked, (width, height), interpolation=cv2.INTER_NEAREST)
    if mask.any() and not resized.any():
        share = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(share > 0)
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
