"""Where foreign textures come from: patterns drawn by formula, or a folder of pictures.

Both keep a stock of tiles larger than a picture and show random views of it, which costs a
fraction of a millisecond. The seed of the stock and the generator passed decide all. A kind of
pattern is a function (rng, side) -> float32 [side, side] of any range, which is coloured then.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.files import list_parts
from engines.pictures.read import read_picture, resize_picture
from trainer.errors import DatasetError

_log = logging.getLogger(__name__)
Pixels = NDArray[np.uint8]
_LARGER = 1.4  # side of a tile by the picture's
_ZOOM = (0.7, 1.4)  # share of a picture's side that a view shows; 1.4 shows all of a tile
_PALETTE = 256
Field = NDArray[np.float32]
Kind = Callable[[np.random.Generator, int], Field]


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


def draw_cells(rng: np.random.Generator, side: int) -> Field:
    """Cut the plane into Voronoi cells: plates, pebbles or the cracks between them."""
    seeds = np.ones((side, side), np.uint8)
    count = int(np.exp(rng.uniform(np.log(10), np.log(600))))
    seeds.flat[rng.choice(side * side, min(count, side * side // 9), replace=False)] = 0
    distance, labels = cv2.distanceTransformWithLabels(
        seeds, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    look = int(rng.integers(3))
    if look == 0:
        return np.asarray(distance, np.float32)
    if look == 1:
        return np.asarray(rng.random(int(labels.max()) + 1)[labels], np.float32)
    inside = np.ones((side, side), np.uint8)
    inside[:-1] &= labels[1:] == labels[:-1]
    inside[:, :-1] &= labels[:, 1:] == labels[:, :-1]
    inner = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
    return np.asarray(np.minimum(inner, rng.uniform(1, 6)), np.float32)


def draw_cloud(rng: np.random.Generator, side: int) -> Field:
    """Sum noise of octaves, stretched along one axis or not."""
    stretch = float(rng.choice((1.0, 1.0, 3.0, 8.0)))
    roughness = rng.uniform(0.4, 0.9)
    field = np.zeros((side, side), np.float32)
    cells, weight = float(rng.integers(2, 6)), 1.0
    while cells < side / 2:
        coarse = rng.normal(size=(_at_least_2(cells), _at_least_2(cells / stretch)))
        field += weight * cv2.resize(
            coarse.astype(np.float32), (side, side), interpolation=cv2.INTER_CUBIC
        )
        cells, weight = 2 * cells, roughness * weight
    return field


def draw_discs(rng: np.random.Generator, side: int) -> Field:
    """Scatter discs of many sizes and tones."""
    field = np.zeros((side, side), np.float32)
    largest = side * np.exp(rng.uniform(np.log(0.01), np.log(0.12)))
    for _ in range(int(rng.integers(30, 300))):
        centre = tuple(int(each) for each in rng.integers(0, side, 2))
        radius = max(1, round(largest * rng.uniform(0.3, 1)))
        cv2.circle(field, centre, radius, float(rng.uniform(0.2, 1)), cv2.FILLED, cv2.LINE_AA)
    return field


def draw_fibres(rng: np.random.Generator, side: int) -> Field:
    """Throw straight fibres, in all directions or along one."""
    field = np.zeros((side, side), np.float32)
    along, spread = rng.uniform(0, np.pi), float(rng.choice((0.1, 0.4, np.pi)))
    for _ in range(int(rng.integers(60, 400))):
        angle = along + rng.uniform(-spread, spread)
        half = side * rng.uniform(0.05, 0.4) * np.array((np.cos(angle), np.sin(angle)))
        middle = rng.uniform(0, side, 2)
        start, end = np.rint(middle - half).astype(int), np.rint(middle + half).astype(int)
        tone, width = float(rng.uniform(0.2, 1)), int(rng.integers(1, 4))
        cv2.line(field, tuple(start.tolist()), tuple(end.tolist()), tone, width, cv2.LINE_AA)
    return field


def draw_grain(rng: np.random.Generator, side: int) -> Field:
    """Blur white noise, along one direction or none."""
    noise = rng.normal(size=(side, side)).astype(np.float32)
    sigma_x, sigma_y = rng.uniform(0.4, 1.5), rng.uniform(0.4, 1.5) * rng.choice((1.0, 1.0, 6.0))
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma_x, sigmaY=sigma_y), np.float32)


def draw_marble(rng: np.random.Generator, side: int) -> Field:
    """Draw stripes that a cloud has disturbed."""
    cloud = _standard(draw_cloud(rng, side))
    return np.asarray(np.sin(_phase(rng, side) + rng.uniform(1, 4) * cloud), np.float32)


def draw_ridges(rng: np.random.Generator, side: int) -> Field:
    """Fold a cloud at its middle: veins and creases."""
    field = draw_cloud(rng, side)
    return np.asarray(np.abs(field - np.median(field)) ** 0.6, np.float32)


def draw_rings(rng: np.random.Generator, side: int) -> Field:
    """Draw disturbed circles around a point."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    centre = rng.uniform(-0.5, 1.5, 2) * side
    radius = np.hypot(y - centre[0], x - centre[1])
    cloud = _standard(draw_cloud(rng, side))
    turns = radius * 2 * np.pi * np.exp(rng.uniform(np.log(4), np.log(30))) / side
    return np.asarray(np.sin(turns + rng.uniform(0, 2) * cloud), np.float32)


def draw_slope(rng: np.random.Generator, side: int) -> Field:
    """Fade evenly from one side to another: smooth stains and shine."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    angle = rng.uniform(0, 2 * np.pi)
    bend = rng.uniform(-1, 1)
    slope = np.cos(angle) * x + np.sin(angle) * y + bend * (x - 0.5) * (y - 0.5)
    noise = rng.normal(0, rng.uniform(0, 0.05), (side, side))
    return np.asarray(slope + noise, np.float32)


def draw_stripes(rng: np.random.Generator, side: int) -> Field:
    """Draw wavy stripes, soft or hard."""
    wave = np.sin(_phase(rng, side))
    return np.asarray(np.tanh(rng.choice((0.5, 2.0, 10.0)) * wave), np.float32)


def draw_weave(rng: np.random.Generator, side: int) -> Field:
    """Cross two sets of stripes: checks, nets and cloth."""
    first, second = np.sin(_phase(rng, side)), np.sin(_phase(rng, side))
    crossed = first * second if rng.random() < 0.5 else np.maximum(first, second)  # noqa: PLR2004
    return np.asarray(np.tanh(rng.choice((0.7, 4.0)) * crossed), np.float32)


KINDS: tuple[Kind, ...] = (
    draw_cloud,
    draw_ridges,
    draw_grain,
    draw_stripes,
    draw_weave,
    draw_marble,
    draw_rings,
    draw_cells,
    draw_discs,
    draw_fibres,
    draw_slope,
)


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
        if not folder.is_dir():
            raise DatasetError(f"{folder} holds no readable pictures of textures: no such folder")
        paths, files = list_parts(folder)
        order = np.random.default_rng(seed).permutation(len(paths))
        side = int(np.ceil(_LARGER * max(size)))
        tiles = [_read_tile(paths[index], side) for index in order[:most]]
        readable = [tile for tile in tiles if tile is not None]
        if not readable:
            raise DatasetError(f"{folder} holds no readable pictures of textures ({files.line()})")
        if len(readable) < len(tiles):
            _log.warning(
                "textures.unreadable",
                extra={"folder": str(folder), "count": len(tiles) - len(readable)},
            )
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


def _phase(rng: np.random.Generator, side: int) -> Field:
    """Angle that rises across the picture, the direction and bends by chance; in radians."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    angle = rng.uniform(0, 2 * np.pi)
    turns = np.exp(rng.uniform(np.log(4), np.log(max(5.0, min(60.0, side / 5)))))
    across, along = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    bend = rng.uniform(0, 0.05) * np.sin(2 * np.pi * (rng.uniform(1, 5) * along + rng.random()))
    return np.asarray(2 * np.pi * turns * (across + bend), np.float32)


def _standard(field: Field) -> Field:
    return np.asarray((field - field.mean()) / max(float(field.std()), 1e-6), np.float32)


def _at_least_2(cells: float) -> int:
    return max(2, round(cells))
