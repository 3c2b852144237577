"""Where foreign textures come from: patterns drawn by formula, or a folder of pictures.

Both keep a stock of tiles larger than a picture and show random views of it, which costs a
fraction of a millisecond. The seed of the stock and the generator passed decide all.
"""

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures import PICTURE_SUFFIXES, read_picture, resize_picture
from trainer.anomalies.texture_fields import KINDS, Field
from trainer.errors import DatasetError

Pixels = NDArray[np.uint8]

_LARGER = 1.4  # side of a tile by the picture's
_ZOOM = (0.7, 1.4)  # share of a picture's side that a view shows; 1.4 shows all of a tile
_PALETTE = 256


class Textures(Protocol):
    """A source of foreign textures."""

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw a texture: uint8 [H, W, 3] RGB of the size that the source was made for."""
        ...


def open_textures(folder: Path | None, size: tuple[int, int], seed: int) -> Textures:
    """Read textures from a folder, or draw them by formula where there is none.

    Raises:
        DatasetError: a folder without readable pictures.
    """
    if folder is None:
        return ProceduralTextures(size, seed)
    return FolderTextures(folder, size, seed)


class ProceduralTextures:
    """Patterns drawn by formula, coloured anew at each draw; read-only once made."""

    def __init__(self, size: tuple[int, int], seed: int, tiles: int = 10 * len(KINDS)) -> None:
        """Draw the stock for pictures of `size` (height, width)."""
        rng = np.random.default_rng([seed, len(KINDS)])
        side = int(np.ceil(_LARGER * max(size)))
        kinds = [KINDS[index % len(KINDS)] for index in range(tiles)]
        self._tiles = np.stack([_as_levels(kind(rng, side)) for kind in kinds])
        self._size = size

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw a view of a tile in random colours: uint8 [H, W, 3]."""
        view = _view(rng, self._tiles[rng.integers(len(self._tiles))], self._size)
        return np.asarray(cv2.LUT(cv2.merge([view, view, view]), draw_palette(rng)), np.uint8)


class FolderTextures:
    """Pictures of a folder and the folders below it, such as DTD; read-only once made."""

    def __init__(self, folder: Path, size: tuple[int, int], seed: int, most: int = 256) -> None:
        """Read at most `most` pictures, drawn by seed, for views of `size` (height, width).

        Raises:
            DatasetError: no readable picture.
        """
        paths = [p for p in sorted(folder.rglob("*")) if p.suffix.lower() in PICTURE_SUFFIXES]
        order = np.random.default_rng(seed).permutation(len(paths))
        side = int(np.ceil(_LARGER * max(size)))
        tiles = [_read_tile(paths[index], side) for index in order[:most]]
        readable = [tile for tile in tiles if tile is not None]
        if not readable:
            raise DatasetError(f"{folder} holds no readable pictures of textures")
        self._tiles = np.stack(readable)
        self._size = size

    def draw(self, rng: np.random.Generator) -> Pixels:
        """Draw a view of a picture: uint8 [H, W, 3]."""
        return _view(rng, self._tiles[rng.integers(len(self._tiles))], self._size)


def draw_palette(rng: np.random.Generator) -> Pixels:
    """Draw a run of colours through two to five random ones, smooth or in steps.

    Returns: uint8 [256, 1, 3], a table for `cv2.LUT`.
    """
    count = int(rng.integers(2, 6))
    stops = rng.uniform(0, 255, (count, 3))
    if rng.random() < 0.3:  # noqa: PLR2004  # nearly grey, as much of the world is
        stops = stops[:, :1] + rng.normal(0, 8, (count, 3))
    places = np.sort(np.concatenate([[0, 1], rng.random(count - 2)])) * (_PALETTE - 1)
    run = np.arange(_PALETTE)
    table = np.stack([np.interp(run, places, stops[:, channel]) for channel in range(3)], axis=1)
    return np.clip(np.rint(table), 0, 255).astype(np.uint8)[:, None]


def _as_levels(field: Field) -> Pixels:
    """Stretch a field to 0..255, cutting the outermost percent on each side."""
    low, high = np.percentile(field, (1, 99))
    scaled: Field = 255 * (field - low) / max(float(high - low), 1e-6)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _view(rng: np.random.Generator, tile: Pixels, size: tuple[int, int]) -> Pixels:
    """Cut a window by chance, turn and flip it, resize it to `size`."""
    side = tile.shape[0]
    window = min(side, max(2, round(side * rng.uniform(*_ZOOM) / _LARGER)))
    top, left = (int(each) for each in rng.integers(0, side - window + 1, 2))
    cut = np.rot90(tile[top : top + window, left : left + window], int(rng.integers(4)))
    flipped = np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut)  # noqa: PLR2004
    return np.asarray(cv2.resize(flipped, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)


def _read_tile(path: Path, side: int) -> Pixels | None:
    """Read the middle square of a picture; None where it cannot be read."""
    try:
        pixels = read_picture(path)
    except PictureError:
        return None
    short = min(pixels.shape[:2])
    top, left = (pixels.shape[0] - short) // 2, (pixels.shape[1] - short) // 2
    square = pixels[top : top + short, left : left + short]
    resized: Pixels = resize_picture(square, (side, side))
    return resized
