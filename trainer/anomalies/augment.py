"""Changes of colour and form that make anomaly sources of pictures and of seen anomalies.

Pictures are uint8 [H, W, 3] RGB in 0..255 throughout: a source in another range than the picture
it is pasted on turns every anomaly into a dark patch.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Table = NDArray[np.float64]  # [256, 3], grey level -> grey level
Matrix = NDArray[np.float64]  # [2, 3], affine, (x, y) of the source -> (x, y) of the picture

_CHANGES = 3  # of a source, drawn of all (DRAEM)
_GRID = 8  # cells a side of a shuffled picture (MemSeg)
_LEVELS = np.arange(256, dtype=np.float64)[:, None]


def _gamma(rng: np.random.Generator, table: Table) -> Table:
    power = np.exp(rng.uniform(np.log(0.5), np.log(2), 3))
    return np.asarray(255 * (np.clip(table, 0, 255) / 255) ** power)


def _brighten(rng: np.random.Generator, table: Table) -> Table:
    return np.asarray(table * rng.uniform(0.8, 1.2) + rng.uniform(-50, 50))


def _contrast(rng: np.random.Generator, table: Table) -> Table:
    middle = rng.uniform(64, 192)
    return np.asarray(middle + (table - middle) * np.exp(rng.uniform(np.log(0.4), np.log(2.2))))


def _solarise(rng: np.random.Generator, table: Table) -> Table:
    return np.asarray(np.where(table >= rng.uniform(32, 192), 255 - table, table))


def _posterise(rng: np.random.Generator, table: Table) -> Table:
    step = 256 / int(rng.integers(3, 9))
    return np.asarray(np.floor(np.clip(table, 0, 255) / step) * step + step / 2)


def _invert(_: np.random.Generator, table: Table) -> Table:
    return np.asarray(255 - table)


def _tint(rng: np.random.Generator, table: Table) -> Table:
    return np.asarray(table + rng.uniform(-40, 40, 3))


_TONES: tuple[Callable[[np.random.Generator, Table], Table], ...] = (
    _gamma,
    _brighten,
    _contrast,
    _solarise,
    _posterise,
    _invert,
    _tint,
)


def _hue(rng: np.random.Generator, picture: Pixels) -> Pixels:
    hue = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV)
    table = np.stack(
        [
            (np.arange(256) + int(rng.integers(-50, 51))) % 180,
            np.clip(np.arange(256) + rng.uniform(-50, 50), 0, 255),
            np.arange(256),
        ],
        axis=1,
    )
    turned = cv2.LUT(hue, table.astype(np.uint8)[:, None])
    return np.asarray(cv2.cvtColor(turned, cv2.COLOR_HSV2RGB), np.uint8)


def _sharpen(rng: np.random.Generator, picture: Pixels) -> Pixels:
    """Unsharp masking; with a negative amount it blurs."""
    amount = rng.uniform(-0.9, 2)
    soft = cv2.GaussianBlur(picture, (0, 0), rng.uniform(1, 3))
    return np.asarray(cv2.addWeighted(picture, 1 + amount, soft, -amount, 0), np.uint8)


def _turn(rng: np.random.Generator, picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    centre = (width / 2, height / 2)
    matrix = cv2.getRotationMatrix2D(centre, rng.uniform(-45, 45), rng.uniform(1, 1.4))
    return warp(picture, np.asarray(matrix), cv2.BORDER_REFLECT_101)


_PICTURES: tuple[Callable[[np.random.Generator, Pixels], Pixels], ...] = (_hue, _sharpen, _turn)


def augment_source(rng: np.random.Generator, picture: Pixels, changes: int = _CHANGES) -> Pixels:
    """Change a source in `changes` of ten ways drawn by chance (after DRAEM); a new array."""
    drawn = rng.choice(len(_TONES) + len(_PICTURES), changes, replace=False)
    table: Table = np.repeat(_LEVELS, 3, axis=1)
    for which in drawn[drawn < len(_TONES)]:
        table = _TONES[which](rng, table)
    changed = apply_tones(picture, table)
    for which in drawn[drawn >= len(_TONES)]:
        changed = _PICTURES[which - len(_TONES)](rng, changed)
    return changed


def retone(rng: np.random.Generator, picture: Pixels, least: float) -> Pixels:
    """Darken or brighten clearly, by `least` to four times as many grey levels."""
    sign = -1 if rng.random() < 0.6 else 1  # noqa: PLR2004  # cracks and dirt are mostly dark
    shift = sign * rng.uniform(least, 4 * least)
    table = np.repeat(_LEVELS * rng.uniform(0.7, 1.1) + shift, 3, axis=1)
    return apply_tones(picture, table + rng.normal(0, 0.15 * least, 3))


def shuffle_grid(rng: np.random.Generator, picture: Pixels) -> Pixels:
    """Cut a picture into 8 x 8 cells and put them back in another order (MemSeg)."""
    height, width = picture.shape[:2]
    down, across = height // _GRID, width // _GRID
    if not (down and across):
        return picture.copy()
    whole = picture[: down * _GRID, : across * _GRID]
    cells = whole.reshape(_GRID, down, _GRID, across, 3).swapaxes(1, 2)
    shuffled = cells.reshape(_GRID * _GRID, down, across, 3)[rng.permutation(_GRID * _GRID)]
    back = shuffled.reshape(_GRID, _GRID, down, across, 3).swapaxes(1, 2).reshape(whole.shape)
    out = picture.copy()
    out[: down * _GRID, : across * _GRID] = back
    return out


def shift_picture(rng: np.random.Generator, picture: Pixels) -> Pixels:
    """Move a picture by an eighth to a half of its sides; what leaves comes in opposite."""
    height, width = picture.shape[:2]
    share = rng.uniform(0.125, 0.5, 2) * rng.choice((-1, 1), 2)
    return np.roll(picture, (round(share[0] * height), round(share[1] * width)), axis=(0, 1))


def bend_field(
    rng: np.random.Generator, size: tuple[int, int], strength: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw smooth displacements for `cv2.remap`, at most about `strength` pixels.

    Returns: x and y of the source of each pixel, float32 [H, W].
    """
    height, width = size
    cells = int(rng.integers(4, 9))
    coarse = rng.uniform(-strength, strength, (cells, cells, 2)).astype(np.float32)
    moved = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    across = np.arange(width, dtype=np.float32) + moved[..., 0]
    down = np.arange(height, dtype=np.float32)[:, None] + moved[..., 1]
    return across, down


def bend(rng: np.random.Generator, picture: Pixels, strength: float) -> Pixels:
    """Displace a picture smoothly by at most about `strength` pixels."""
    across, down = bend_field(rng, (picture.shape[0], picture.shape[1]), strength)
    return np.asarray(
        cv2.remap(picture, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101),
        np.uint8,
    )


def apply_tones(picture: Pixels, table: Table) -> Pixels:
    """Send each channel through its column of `table` [256, 3]; clipped to 0..255."""
    levels = np.clip(np.rint(table), 0, 255).astype(np.uint8)
    return np.asarray(cv2.LUT(picture, levels[:, None]), np.uint8)


def shift_tones(picture: Pixels, shift: NDArray[np.float64]) -> Pixels:
    """Add grey levels to each channel, `shift` [3]; clipped to 0..255."""
    return apply_tones(picture, _LEVELS + shift)


def to_grey(picture: Pixels) -> Pixels:
    """Take the colours out of a picture."""
    return np.asarray(
        cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB), np.uint8
    )


def warp(picture: Pixels, matrix: Matrix, border: int) -> Pixels:
    """Move a picture (or a mask in 0..255) by an affine matrix; the size stays."""
    height, width = picture.shape[:2]
    moved = cv2.warpAffine(
        picture, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border
    )
    return np.asarray(moved, np.uint8)


def place(
    centre: tuple[float, float],
    target: tuple[float, float],
    angle_deg: float,
    zoom: tuple[float, float],
) -> Matrix:
    """Turn and scale about `centre`, then move that to `target`; points are (x, y).

    Args:
        centre: of the region in its own picture.
        target: where it shall lie.
        angle_deg: counter-clockwise on the screen.
        zoom: along x and y before turning; a negative one flips.
    """
    angle = np.deg2rad(angle_deg)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    linear = turn @ np.diag(zoom)
    return np.hstack([linear, (np.array(target) - linear @ np.array(centre))[:, None]])
