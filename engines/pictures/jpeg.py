"""Encode and decode JPEG by simplejpeg (libjpeg-turbo), or by OpenCV if that is missing.

Nothing is checked here: `engines.pictures.headers` checks files before they are decoded.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger(__name__)


class Chroma(StrEnum):
    """How much of the colour a JPEG keeps."""

    FULL = "444"
    HALF = "420"  # half the resolution in both directions; brightness keeps all of it


@dataclass(frozen=True, slots=True)
class JpegSetting:
    """JPEG quality; the defaults halve the time at no loss of accuracy (docs/experiments.md)."""

    quality: int = 90  # 1..100, the scale of libjpeg
    chroma: Chroma = Chroma.HALF


DEFAULT_JPEG = JpegSetting()


def encode_jpeg(pixels: NDArray[np.uint8], jpeg: JpegSetting = DEFAULT_JPEG) -> bytes:
    """Encode uint8 [H, W, 3] RGB."""
    from engines.pictures.libraries import simplejpeg  # noqa: PLC0415

    if simplejpeg is None:
        _warn_once()
        return encode_by_opencv(pixels, jpeg)
    contiguous = np.ascontiguousarray(pixels)
    return bytes(
        simplejpeg.encode_jpeg(contiguous, jpeg.quality, "RGB", colorsubsampling=jpeg.chroma.value)
    )


def decode_jpeg(content: bytes) -> NDArray[np.uint8]:
    """Decode into uint8 [H, W, 3] RGB, never turned.

    Raises:
        ValueError: damaged.
    """
    from engines.pictures.libraries import simplejpeg  # noqa: PLC0415  # the base install has none

    if simplejpeg is None:
        _warn_once()
        return decode_by_opencv(content)
    return np.asarray(simplejpeg.decode_jpeg(content, "RGB"), np.uint8)


def encode_by_opencv(pixels: NDArray[np.uint8], jpeg: JpegSetting) -> bytes:
    """Encode like `encode_jpeg`, by OpenCV."""
    from engines.pictures.libraries import cv2  # noqa: PLC0415

    sampling = {
        Chroma.FULL: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        Chroma.HALF: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    }[jpeg.chroma]
    settings = [cv2.IMWRITE_JPEG_QUALITY, jpeg.quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), settings)
    if not done:
        raise ValueError(f"JPEG encoder refused pixels of shape {list(pixels.shape)}")
    return encoded.tobytes()


def decode_by_opencv(content: bytes) -> NDArray[np.uint8]:
    """Decode like `decode_jpeg`, by OpenCV; damaged pixels come out grey or smeared.

    Raises:
        ValueError: damaged in a way that OpenCV reports.
    """
    from engines.pictures.libraries import cv2  # noqa: PLC0415

    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), flags)
    if decoded is None:
        raise ValueError("OpenCV cannot decode it")
    return np.asarray(decoded, np.uint8)


@cache
def _warn_once() -> None:
    _log.warning(
        "jpeg.lesser_decoder",
        extra={
            "why": "simplejpeg is not installed: OpenCV decodes JPEG, slower, and shows damaged "
            "pixels instead of refusing them; pip install simplejpeg"
        },
    )
