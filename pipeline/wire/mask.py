"""Masks <-> bytes: one bit a pixel, then zlib."""

import zlib

import numpy as np
from numpy.typing import NDArray

from pipeline.codecs import MAX_PIXELS
from pipeline.errors import ForeignVerdict


def pack_mask(mask: NDArray[np.bool_]) -> bytes:
    """Pack a mask [H, W] into bits, row by row, highest bit first, then zlib."""
    return zlib.compress(np.packbits(mask).tobytes(), 1)


def unpack_mask(packed: bytes, height: int, width: int) -> NDArray[np.bool_]:
    """Undo `pack_mask`; never inflates more than the bits of one mask.

    Raises:
        ForeignVerdict: the bytes are no mask of that size.
    """
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise ForeignVerdict(f"mask of {height}x{width}, limit {MAX_PIXELS} pixels")
    wanted = (height * width + 7) // 8
    inflater = zlib.decompressobj()
    try:
        bits = inflater.decompress(packed, wanted + 1)
    except zlib.error as error:
        raise ForeignVerdict(f"mask does not inflate: {error}") from error
    if len(bits) != wanted:
        raise ForeignVerdict(f"mask of {height}x{width} needs {wanted} bytes, got {len(bits)}")
    flat = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width)
    return flat.reshape(height, width).astype(np.bool_)
