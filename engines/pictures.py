"""Picture files -> uint8 RGB pixels, and the one way that this project resizes them.

Training and the line must see the same pixels, so both read and resize here. PNG, JPEG, BMP and
TIFF are read. What a file announces is checked before a decoder sees its bytes; a file whose cost
that cannot bound is decoded in a process of its own, under limits. EXIF orientation is ignored: the
pixels stay in the order of the sensor, as the masks are.
"""

from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.files import read_file
from engines.picture_headers import MAX_PIXELS, PictureHeader, check_picture

MAX_FILE_BYTES = 256 << 20
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_HALF = 127

__all__ = [
    "MAX_FILE_BYTES",
    "MAX_PIXELS",
    "PICTURE_SUFFIXES",
    "decode_picture",
    "read_mask",
    "read_picture",
    "resize_picture",
]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file into uint8 [H, W, 3] RGB.

    Raises:
        PictureError: not a regular file, unreadable, too large, truncated, not 8 bits a channel, or
            partly transparent.
    """
    try:
        content = read_file(path, MAX_FILE_BYTES)
    except OSError as error:
        raise PictureError(f"{path}: {error.strerror or error}") from error
    return decode_picture(content, str(path))


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask file at its own size, bool [H, W]: 0/255, 0/1 and grey ones, cut in the middle.

    Raises:
        PictureError: unreadable.
    """
    grey = read_picture(path).max(axis=2)
    return np.asarray(grey > (_HALF if grey.max() > 1 else 0))


def decode_picture(content: bytes, name: str) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file into uint8 [H, W, 3] RGB; `name` opens the error.

    Raises:
        PictureError: as `read_picture`.
    """
    try:
        header = check_picture(content)
        if header.bounded:
            return decode_checked(header)
        from engines.decode_process import decode_apart  # noqa: PLC0415  # few files need it

        return decode_apart(header)
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error


def decode_checked(header: PictureHeader) -> NDArray[np.uint8]:
    """Decode a picture that passed the checks, in this process, into uint8 [H, W, 3] RGB.

    Raises:
        PictureError: damaged, not 8 bits a channel, or partly transparent.
    """
    try:
        if header.kind == "JPEG":
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(header.content, "RGB")
        else:
            pixels = _as_rgb(_decode(header.content))
    except (ValueError, cv2.error) as error:
        raise PictureError(f"does not decode, truncated or damaged ({error})") from error
    if pixels.shape[:2] != (header.height, header.width):
        raise PictureError("does not decode to the size that it announces: damaged")
    return pixels


def resize_picture(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize uint8 [H, W, 3] to `size` (height, width); the aspect ratio is not kept.

    A side that shrinks is averaged over areas (no aliasing), a side that grows is interpolated
    linearly. Pixels that have the size already are returned as they are, not copied.
    """
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
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None:
        raise PictureError("does not decode, truncated or damaged: copy the file again")
    return np.asarray(decoded)


def _as_rgb(decoded: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Grey, BGR or BGRA as OpenCV decodes them -> RGB."""
    if decoded.dtype != np.uint8:
        raise PictureError(
            f"{8 * decoded.dtype.itemsize}-bit picture: convert it to 8 bits a channel, with one "
            "scale for all pictures"
        )
    pixels = np.asarray(decoded, np.uint8)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]  # noqa: PLR2004
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    if channels == 3:  # noqa: PLR2004
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    if channels != 4:  # noqa: PLR2004
        raise PictureError(f"picture of {channels} channels: save it as grey or RGB")
    if pixels[:, :, 3].min() < 255:  # noqa: PLR2004
        raise PictureError("partly transparent picture: flatten it onto its background")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.uint8)
