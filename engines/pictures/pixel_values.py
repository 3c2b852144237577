"""Convert decoded values of any depth, with or without alpha, to uint8 RGB."""

import logging
from functools import cache

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.orientation import tiff_short

_LEAST_OF_16_BITS = 1 << 12  # a 16-bit picture without a higher value leaves bits unused
_EXTRA_SAMPLES = 338  # tag of TIFF 6.0: 0 means that a further channel is not alpha
_OPAQUE = 255
_WITH_ALPHA = frozenset({2, 4})  # channels
_log = logging.getLogger(__name__)


def as_rgb(
    values: NDArray[np.generic], content: bytes, bits: int | None = None
) -> NDArray[np.uint8]:
    """Convert grey, BGR or BGRA, as OpenCV decodes them, to uint8 [H, W, 3] RGB.

    Args:
        values: [H, W] or [H, W, C], 8 or 16 bits; of 16 bits the upper 8 used ones are kept.
        content: the file, which tells whether a fourth channel is alpha.
        bits: number of bits that 16-bit values use, 9 to 16; None: all 16.

    Raises:
        PictureError: another depth or number of channels, partly transparent, values above the
            stated bits, or, if no bits are stated, values that use at most 12 bits.
    """
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    pixels = _as_8_bits(values, bits)
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]  # noqa: PLR2004
    if channels == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    if channels == 3:  # noqa: PLR2004
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
    if channels != 4:  # noqa: PLR2004
        raise PictureError(f"picture of {channels} channels: save it as grey or RGB")
    if pixels[:, :, 3].min() < _OPAQUE and not _is_padding(pixels[:, :, 3], content):
        raise PictureError("partly transparent picture: flatten it onto its background")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGRA2RGB), np.uint8)


def part_alpha(
    values: NDArray[np.generic],
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
    """Split [H, W] or [H, W, C] into colours [H, W, C] and opaque pixels, bool [H, W].

    Returns: None in place of the latter if there is no alpha channel.
    """
    channels = values[..., None] if values.ndim == 2 else values  # noqa: PLR2004
    if channels.shape[2] not in _WITH_ALPHA:
        return channels, None
    full = 2 ** (8 * channels.dtype.itemsize) - 1 if channels.dtype.kind == "u" else 1
    return channels[..., :-1], np.asarray(channels[..., -1].astype(np.float64) > full / 2)


def _is_padding(alpha: NDArray[np.uint8], content: bytes) -> bool:
    """Return whether a fourth channel is only padding, as in most BMP and in RGBX TIFF."""
    if content[:2] == b"BM":
        return not alpha.any()
    return tiff_short(content, _EXTRA_SAMPLES) == 0


def used_bits(values: NDArray[np.generic], bits: int | None) -> int:
    """Return how many bits the values of a file use, of which 8 are kept."""
    stored = 8 * values.dtype.itemsize
    return bits if bits is not None and values.dtype == np.uint16 else stored


def _as_8_bits(values: NDArray[np.generic], bits: int | None) -> NDArray[np.uint8]:
    if values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    if values.dtype != np.uint16:
        form = {"f": "floating-point", "i": "signed"}.get(values.dtype.kind, "integer")
        raise PictureError(
            f"{8 * values.dtype.itemsize}-bit {form} picture: save it with 8 or 16 bits a "
            "channel, unsigned, with one scale for all pictures"
        )
    deep = np.asarray(values, np.uint16)
    _check_used(int(deep.max()), bits)
    stated = 16 if bits is None else bits
    _log_scale(stated)
    return np.asarray(deep >> (stated - 8), np.uint8)


def _check_used(highest: int, bits: int | None) -> None:
    """Refuse 16-bit values that use fewer than 13 bits if none are stated, or more than stated."""
    if bits is None and highest < _LEAST_OF_16_BITS:
        raise PictureError(
            f"16-bit picture whose highest value is {highest}, of 65535: its values fill "
            f"{highest.bit_length()} bits only; state how many its camera uses with "
            "--picture-bits 12 (or 16, if it is dark), or save 8 bits, with one scale for all "
            "pictures"
        )
    if bits is not None and highest >= 1 << bits:
        raise PictureError(
            f"16-bit picture with value {highest}, above the {(1 << bits) - 1} of --picture-bits "
            f"{bits}: its values use {highest.bit_length()} bits"
        )


@cache
def _log_scale(bits: int) -> None:
    """Log once per process that 16-bit pictures are read, and how they are scaled."""
    _log.info(
        "picture.scaled",
        extra={"bits": bits, "taken": f"the upper 8 of {bits} bits: value // {1 << (bits - 8)}"},
    )
