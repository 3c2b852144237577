"""Picture files -> uint8 RGB pixels, and the one way that this project resizes them.

Training and the line must see the same pixels, so both read and resize here. PNG, JPEG, BMP and
TIFF are read; the size that a header announces is checked before a decoder sees the bytes. EXIF
orientation is ignored: the pixels stay in the order of the sensor, as the masks are.
"""

import struct
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from engines.errors import PictureError

MAX_PIXELS = 64 << 20  # 64 megapixels: 192 MiB of RGB
MAX_FILE_BYTES = 256 << 20
PICTURE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_START = b"\xff\xd8"
_TIFF_ORDER = {b"II*\x00": "<", b"MM\x00*": ">"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_SHORT = 3
_HALF = 127


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file into uint8 [H, W, 3] RGB.

    Raises:
        PictureError: unreadable, too large, truncated, not 8 bits a channel, or partly transparent.
    """
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise PictureError(f"{path}: file of {size} bytes, limit {MAX_FILE_BYTES}")
        content = path.read_bytes()
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
        _check_size(*_announced_size(content))
        if content[:2] == _JPEG_START:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(content, "RGB")
            return pixels
        return _as_rgb(_decode(content))
    except PictureError as error:
        raise PictureError(f"{name}: {error}") from error
    except (ValueError, struct.error, IndexError, cv2.error) as error:
        raise PictureError(f"{name}: does not decode, truncated or damaged ({error})") from error


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


def _announced_size(content: bytes) -> tuple[int, int]:
    """(height, width) that the header announces."""
    if content[:8] == _PNG_SIGNATURE:
        width, height = struct.unpack(">II", content[16:24])
        if b"IEND" not in content[-64:]:
            raise PictureError("PNG without its end, truncated: copy the file again")
        return height, width
    if content[:2] == _JPEG_START:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
        if colours in {"CMYK", "YCCK"}:
            raise PictureError(f"JPEG with {colours} colours: convert it to RGB or grey")
        return height, width
    if content[:2] == b"BM":
        width, height = struct.unpack("<ii", content[18:26])
        return abs(height), abs(width)
    if content[:4] in _TIFF_ORDER:
        return _tiff_size(content, _TIFF_ORDER[content[:4]])
    raise PictureError("no PNG, JPEG, BMP or TIFF picture: convert it to one of them")


def _tiff_size(content: bytes, order: str) -> tuple[int, int]:
    """Read width and height of the first directory (TIFF 6.0, section 2)."""
    (start,) = struct.unpack_from(order + "I", content, 4)
    (entries,) = struct.unpack_from(order + "H", content, start)
    sides: dict[int, int] = {}
    for entry in range(entries):
        at = start + 2 + 12 * entry
        tag, kind = struct.unpack_from(order + "HH", content, at)
        if tag in {_TIFF_WIDTH, _TIFF_HEIGHT}:
            (sides[tag],) = struct.unpack_from(
                order + ("H" if kind == _TIFF_SHORT else "I"), content, at + 8
            )
    if len(sides) != 2:  # noqa: PLR2004  # a width and a height
        raise PictureError("TIFF that does not tell its size")
    return sides[_TIFF_HEIGHT], sides[_TIFF_WIDTH]


def _check_size(height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise PictureError(f"picture of {height}x{width}, limit {MAX_PIXELS} pixels: crop it")


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
