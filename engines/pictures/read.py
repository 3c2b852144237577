"""Read picture files into uint8 RGB pixels, and resize them.

Training and the line must see the same pixels, so both read and resize here. PNG, JPEG, BMP and
TIFF are read. A file is checked before a decoder sees its bytes. If the checks cannot bound its
cost, it is decoded in a process of its own, under limits. The orientation of a file is ignored in
every format: pixels stay in the order of the sensor, as in masks. Of 16-bit values the upper 8 used
bits are kept, with one scale for all pictures, by `PictureRules`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import read_file
from engines.pictures.headers import JPEG_START, MAX_PIXELS, PictureHeader, check_picture
from engines.pictures.jpeg import decode_jpeg
from engines.pictures.orientation import has_tiff_tag, read_orientation, without_orientation
from engines.pictures.pixel_values import as_rgb, used_bits
from engines.pictures.rules import AS_STORED, PictureRules
from engines.pictures.stray_bytes import without_stray_bytes

MAX_FILE_BYTES = 256 << 20
_TILE_WIDTH = 322  # tag of TIFF 6.0
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "DecodedPicture",
    "decode_picture",
    "decode_values",
    "describe_picture",
    "read_content",
    "read_picture",
    "resize_picture",
]


@dataclass(frozen=True, slots=True)
class DecodedPicture:
    """The pixels of a picture file, and what else the file states."""

    pixels: NDArray[np.uint8]  # [H, W, 3], RGB, in the order of the file
    orientation: int  # 1 to 8, not applied; 1 is upright
    bits: int  # bits that a channel of the file uses
    stray_bytes: int  # bytes that were skipped


def read_picture(path: Path, rules: PictureRules = AS_STORED) -> NDArray[np.uint8]:
    """Read a picture file into uint8 [H, W, 3] RGB.

    Args:
        path: the file.
        rules: how the files are read.

    Raises:
        PictureError: not a regular file, unreadable, too large, truncated, not 8 or 16 bits a
            channel, or partly transparent.
    """
    return decode_picture(read_content(path), str(path), rules)


def read_content(path: Path) -> bytes:
    """Read the bytes of a picture file.

    Raises:
        PictureError: not a regular file, unreadable, or too large.
    """
    try:
        return read_file(path, MAX_FILE_BYTES)
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from error


def decode_picture(content: bytes, name: str, rules: PictureRules = AS_STORED) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file into uint8 [H, W, 3] RGB; `name` opens the error.

    Raises:
        PictureError: as `read_picture`.
    """
    return describe_picture(content, name, rules).pixels


def describe_picture(content: bytes, name: str, rules: PictureRules = AS_STORED) -> DecodedPicture:
    """Decode the bytes of a picture file, and return what the file states beside its pixels.

    Raises:
        PictureError: as `read_picture`.
    """
    orientation, stray = read_orientation(content), 0
    if rules.allow_stray_bytes:
        content, stray = without_stray_bytes(content)
    values = decode_values(content, name)
    try:
        jpeg = content[:2] == JPEG_START
        pixels = np.asarray(values, np.uint8) if jpeg else as_rgb(values, content, rules.bits)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    return DecodedPicture(pixels, orientation, used_bits(values, rules.bits), stray)


def decode_values(content: bytes, name: str) -> NDArray[np.generic]:
    """Decode the bytes of a picture file as `decode_checked` does; `name` opens the error.

    Raises:
        PictureError: as `read_picture`, but for depth and transparency.
    """
    try:
        header = check_picture(content)
        if header.bounded:
            return decode_checked(header)
        from engines.pictures.decode_process import decode_apart  # noqa: PLC0415  # few files need it

        return decode_apart(header)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error


def decode_checked(header: PictureHeader) -> NDArray[np.generic]:
    """Decode a picture that passed the checks, in this process, with the values that it holds.

    Returns: [H, W] or [H, W, C] of any depth; JPEG as RGB, others in OpenCV's channel order.

    Raises:
        PictureError: damaged.
    """
    from engines.pictures.libraries import cv2  # noqa: PLC0415

    try:
        if header.kind == "JPEG":
            values: NDArray[np.generic] = decode_jpeg(header.content)
        else:
            values = _decode(without_orientation(header.content))
    except (ValueError, cv2.error) as error:
        raise PictureError(f"does not decode, truncated or damaged ({error})") from error
    if values.shape[:2] != (header.height, header.width):
        raise PictureError("does not decode to its announced size: damaged")
    return values


def resize_picture(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to `size` (height, width); the aspect ratio is not kept.

    A side that shrinks is averaged over areas (no aliasing), a side that grows is interpolated
    linearly. Pixels that have the size already are returned as they are, not copied.
    """
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    height, width = size
    shrunk = (min(height, pixels.shape[0]), min(width, pixels.shape[1]))
    if pixels.shape[:2] != shrunk:
        pixels = np.asarray(
            cv2.resize(pixels, (shrunk[1], shrunk[0]), interpolation=cv2.INTER_AREA), np.uint8
        )
    if shrunk != size:
        pixels = np.asarray(
            cv2.resize(pixels, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8
        )
    return pixels


def _decode(content: bytes) -> NDArray[np.generic]:
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None and has_tiff_tag(content, _TILE_WIDTH):
        raise PictureError("TIFF in tiles that cannot be read: save it without tiles, or as PNG")
    if decoded is None:
        raise PictureError("does not decode, truncated or damaged: copy the file again")
    return np.asarray(decoded)
