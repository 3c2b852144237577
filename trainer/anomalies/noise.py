"""Perlin noise and the blobs that it makes: the shapes of simulated anomalies (PRN, DRAEM).

Noise of many grid resolutions is computed once, larger than a picture; a mask is then a turned and
shifted view of one field over a threshold, a fraction of a millisecond.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

FINEST = 5  # grids have 1 to 2^5 cells a side of the picture, drawn for each axis by itself
THRESHOLD = 0.5  # of noise in -1..1
_LEAST_CELL = 4  # pixels: a finer grid is white noise
_LARGER = 1.5  # side of a field by the picture's: a turned picture fits
_VIEWS = 3  # fields for each pair of resolutions
_LEVELS = 127  # of noise in -1..1 in uint8: 0 is 128


@dataclass(frozen=True, slots=True)
class NoiseBank:
    """Perlin fields to look at through a picture's frame."""

    fields: NDArray[np.uint8]  # [F, S, S], noise -1..1 as 1..255
    size: tuple[int, int]  # (height, width) of a picture


def perlin_noise(
    rng: np.random.Generator, size: tuple[int, int], cells: tuple[int, int]
) -> NDArray[np.float32]:
    """Draw gradient noise (Perlin 1985, with the fifth-order fade of 2002).

    Args:
        rng: draws the gradients.
        size: (height, width) in pixels.
        cells: of the grid along height and width; need not divide the size.

    Returns: float32 [H, W] in -1..1.
    """
    angle = rng.uniform(0, 2 * np.pi, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    row, down = _grid_places(size[0], cells[0])
    column, right = _grid_places(size[1], cells[1])
    sine, cosine = np.sin(angle), np.cos(angle)

    def ramp(below: int, beside: int) -> NDArray[np.float32]:
        corner = np.ix_(row + below, column + beside)
        slope = sine[corner] * (down[:, None] - below) + cosine[corner] * (right - beside)
        return np.asarray(slope, np.float32)

    fade_down, fade_right = _fade(down)[:, None], _fade(right)
    top = ramp(0, 0) * (1 - fade_right) + ramp(0, 1) * fade_right
    bottom = ramp(1, 0) * (1 - fade_right) + ramp(1, 1) * fade_right
    noise = np.sqrt(2) * (top * (1 - fade_down) + bottom * fade_down)
    return np.asarray(np.clip(noise, -1, 1), np.float32)


def make_noise_bank(rng: np.random.Generator, size: tuple[int, int]) -> NoiseBank:
    """Compute fields of every pair of grid resolutions 2^u x 2^v that a picture can show."""
    finest = max(0, min(FINEST, int(np.log2(max(1, min(size) // _LEAST_CELL)))))
    side = int(np.ceil(_LARGER * max(size)))
    pairs = [(u, v) for u in range(finest + 1) for v in range(finest + 1)] * _VIEWS
    fields = np.empty((len(pairs), side, side), np.uint8)
    for field, (u, v) in zip(fields, pairs, strict=True):
        cells = (round(_LARGER * 2**u), round(_LARGER * 2**v))
        field[:] = np.rint(128 + _LEVELS * perlin_noise(rng, (side, side), cells))
    return NoiseBank(fields, size)


def draw_noise_mask(rng: np.random.Generator, bank: NoiseBank) -> NDArray[np.bool_]:
    """Look at a field turned by U(-90, 90) degrees; True where it is over the threshold.

    Returns: bool [H, W]; may be empty.
    """
    height, width = bank.size
    field = bank.fields[rng.integers(len(bank.fields))]
    side = field.shape[0]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-90, 90), 1.0)
    slack = (side - np.hypot(height, width)) / 2
    matrix[:, 2] += side / 2 - np.array((width, height)) / 2 + rng.uniform(-slack, slack, 2)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(
        field, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT_101
    )
    return np.asarray(seen > 128 + THRESHOLD * _LEVELS, np.bool_)


def _grid_places(pixels: int, cells: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Cell of each pixel's centre, and the place within it in 0..1."""
    place = (np.arange(pixels) + 0.5) * cells / pixels
    cell = np.floor(place).astype(np.intp)
    return cell, (place - cell).astype(np.float32)


def _fade(place: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(place**3 * (place * (6 * place - 15) + 10), np.float32)
