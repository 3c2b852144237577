"""Frames that an engine is tried or measured on: pictures of a folder, or synthetic ones."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from engines.engine import Pixels
from engines.errors import PictureError
from engines.pictures.files import list_parts
from engines.pictures.read import read_picture, resize_picture
from engines.pictures.rules import AS_STORED, PictureRules

SYNTHETIC_FRAMES = 16
PICTURES = 64  # for the ranges of 8 bits; more pictures change them little
LEAST_PICTURES = 8  # with fewer, one unusual part would decide a range
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TrialPictures:
    """A folder of pictures to try an engine on."""

    folder: Path
    most: int = 64  # number of pictures to read, evenly spread over the names
    rules: PictureRules = AS_STORED


def read_frames(
    folder: Path, size: tuple[int, int], most: int, rules: PictureRules = AS_STORED
) -> tuple[Pixels, list[str]]:
    """Read pictures of parts, evenly spread over the sorted names; masks are left out.

    Args:
        folder: searched with its subfolders.
        size: (height, width) of the frames, pixels.
        most: number of pictures to read.
        rules: how the files are read.

    Returns: uint8 [N, H, W, 3] of `size`, and a sentence for each unreadable picture.

    Raises:
        PictureError: the folder holds no picture, or none of the chosen ones can be read.
    """
    paths, files = list_parts(folder)
    if not paths:
        raise PictureError(
            f"no picture in {folder}: name a folder with PNG, JPEG, BMP or TIFF ({files.line()})"
        )
    _log.info("pictures.listed", extra={"folder": str(folder), "files": files.line()})
    places = np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int)
    frames: list[Pixels] = []
    unreadable: list[str] = []
    for place in places:
        try:
            frames.append(resize_picture(read_picture(paths[place], rules), size))
        except PictureError as error:
            unreadable.append(str(error))
    if not frames:
        raise PictureError(
            f"none of {len(places)} pictures in {folder} can be read, the first: {unreadable[0]}"
        )
    return np.stack(frames), unreadable


def draw_frames(size: tuple[int, int]) -> Pixels:
    """Make black, white, and smooth random frames with noise, uint8 [N, H, W, 3]."""
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    height, width = size
    rng = np.random.default_rng(0)
    frames = np.zeros((SYNTHETIC_FRAMES, height, width, 3), np.uint8)
    frames[1] = 255
    for frame in frames[2:]:
        coarse = rng.integers(0, 256, (rng.integers(2, 9), rng.integers(2, 9), 3), dtype=np.uint8)
        smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        noise = rng.integers(-10, 11, frame.shape)
        frame[:] = np.clip(smooth + noise, 0, 255)
    return frames
