"""Where the files of a sample store lie, and how they get there: whole or not at all.

    train/KIND/SHA.png, golden/KIND/SHA.png        what is seen
    incoming/, quarantine/, aside/, rejected/SHA.png   what is not
    masks/KIND/SHA.MASK.png                        never moved, never written again
    snapshots/HASH.json                            likewise
    groups.jsonl                                   which pictures belong together

SHA is the hash of a picture's pixels, MASK the beginning of its mask's.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.files import write_atomic
from trainer.errors import SampleError, StoreError
from trainer.samples.records import Picture, SampleStatus

_KIND = re.compile(r"\w[\w .+-]{0,63}")
_STEM = re.compile(r"[0-9a-f]{64}")
_HALF = re.compile(r"\.([0-9a-f]{64}[0-9a-f.]*\.(png|json)|groups\.jsonl)\.[0-9a-f]{16}")
_SUFFIX = ".png"
_MASK_CHARS = 16  # of a mask's hash in its name
TRAIN, GOLDEN, MASKS = "train", "golden", "masks"
_FAST_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)


@dataclass(frozen=True, slots=True)
class PictureFile:
    """A picture file as its folder describes it."""

    path: Path
    sha: str
    place: SampleStatus
    kind: str  # "": the folder does not say
    golden: bool


def check_kind(kind: str) -> None:
    """Refuse what cannot be a folder's name.

    Raises:
        SampleError: letters, digits, spaces and . + - are taken, 64 at most.
    """
    if not _KIND.fullmatch(kind):
        raise SampleError(
            f"kind {kind!r:.80}: 1 to 64 letters, digits, spaces or . + - _ are taken, a letter or "
            "digit first"
        )


def picture_path(picture: Picture) -> Path:
    """Where a picture lies, within the store's folder."""
    name = picture.sha + _SUFFIX
    if picture.place is not SampleStatus.KEPT:
        return Path(picture.place) / name
    return Path(GOLDEN if picture.golden else TRAIN) / picture.kind / name


def mask_path(picture: Picture) -> Path | None:
    """Where a picture's mask lies, within the store's folder; None where none is known."""
    if not picture.mask:
        return None
    return Path(MASKS) / picture.mask_kind / f"{picture.sha}.{picture.mask[:_MASK_CHARS]}{_SUFFIX}"


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] RGB or [H, W], whole, to outlive a power cut.

    Raises:
        StoreError: the disk is full, or not ours to write.
    """
    shown = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels  # noqa: PLR2004
    done, encoded = cv2.imencode(_SUFFIX, shown, _FAST_PNG)
    if not done:
        raise SampleError(f"pixels of {list(pixels.shape)} do not encode as PNG")
    write_file(path, encoded.tobytes())


def write_file(path: Path, content: bytes) -> None:
    """Write a file whole, to outlive a power cut.

    Raises:
        StoreError: the disk is full, or not ours to write.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, content)
        _keep_names(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def move(source: Path, target: Path) -> None:
    """Move a file within the store.

    Raises:
        StoreError: the disk is full, or not ours to write.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        _keep_names(target.parent)
    except OSError as error:
        raise cannot_write(target, error) from error


def cannot_write(what: Path, error: Exception) -> StoreError:
    """Return an error that explains why nothing was stored, and that the store is intact."""
    why = getattr(error, "strerror", None) or error
    return StoreError(
        f"{what}: {why}; what was stored before is whole: make room or rights, then repeat"
    )


def find_pictures(folder: Path) -> Iterator[PictureFile]:
    """Find every picture file that is named by a hash, wherever it lies."""
    for path in sorted(folder.glob(f"*/*{_SUFFIX}")) + sorted(folder.glob(f"*/*/*{_SUFFIX}")):
        inner = path.relative_to(folder).parts
        if not _STEM.fullmatch(path.stem):
            continue
        if inner[0] in {TRAIN, GOLDEN} and len(inner) == 3:  # noqa: PLR2004  # with a kind
            yield PictureFile(path, path.stem, SampleStatus.KEPT, inner[1], inner[0] == GOLDEN)
        elif inner[0] in set(SampleStatus) and len(inner) == 2:  # noqa: PLR2004
            yield PictureFile(path, path.stem, SampleStatus(inner[0]), "", golden=False)


def find_masks(folder: Path, sha: str) -> Iterator[tuple[str, Path]]:
    """Find every mask that a picture ever had: kind and path."""
    for path in sorted((folder / MASKS).glob(f"*/{sha}.*{_SUFFIX}")):
        yield path.parent.name, path


def find_halves(folder: Path) -> Iterator[Path]:
    """Find what a killed `write_atomic` left half written; other hidden files are not ours."""
    for path in (*folder.glob(".*"), *folder.glob("*/.*"), *folder.glob("*/*/.*")):
        if _HALF.fullmatch(path.name) and path.is_file():
            yield path


def _keep_names(folder: Path) -> None:
    """Make the names in a folder outlive a power cut, which a file's own fsync does not."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
