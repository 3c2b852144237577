"""Grey patterns of many kinds, drawn by formula: what procedural textures are coloured from.

Each kind is a function (rng, side) -> float32 [side, side] of any range.
"""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]
Kind = Callable[[np.random.Generator, int], Field]


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


def draw_ridges(rng: np.random.Generator, side: int) -> Field:
    """Fold a cloud at its middle: veins and creases."""
    field = draw_cloud(rng, side)
    return np.asarray(np.abs(field - np.median(field)) ** 0.6, np.float32)


def draw_grain(rng: np.random.Generator, side: int) -> Field:
    """Blur white noise, along one direction or none."""
    noise = rng.normal(size=(side, side)).astype(np.float32)
    sigma_x, sigma_y = rng.uniform(0.4, 1.5), rng.uniform(0.4, 1.5) * rng.choice((1.0, 1.0, 6.0))
    return np.asarray(cv2.GaussianBlur(noise, (0, 0), sigma_x, sigmaY=sigma_y), np.float32)


def draw_stripes(rng: np.random.Generator, side: int) -> Field:
    """Draw wavy stripes, soft or hard."""
    wave = np.sin(_phase(rng, side))
    return np.asarray(np.tanh(rng.choice((0.5, 2.0, 10.0)) * wave), np.float32)


def draw_weave(rng: np.random.Generator, side: int) -> Field:
    """Cross two sets of stripes: checks, nets and cloth."""
    first, second = np.sin(_phase(rng, side)), np.sin(_phase(rng, side))
    crossed = first * second if rng.random() < 0.5 else np.maximum(first, second)  # noqa: PLR2004
    return np.asarray(np.tanh(rng.choice((0.7, 4.0)) * crossed), np.float32)


def draw_marble(rng: np.random.Generator, side: int) -> Field:
    """Draw stripes that a cloud has disturbed."""
    cloud = _standard(draw_cloud(rng, side))
    return np.asarray(np.sin(_phase(rng, side) + rng.uniform(1, 4) * cloud), np.float32)


def draw_rings(rng: np.random.Generator, side: int) -> Field:
    """Draw disturbed circles around a point."""
    y, x = np.mgrid[:side, :side].astype(np.float32)
    centre = rng.uniform(-0.5, 1.5, 2) * side
    radius = np.hypot(y - centre[0], x - centre[1])
    cloud = _standard(draw_cloud(rng, side))
    turns = radius * 2 * np.pi * np.exp(rng.uniform(np.log(4), np.log(30))) / side
    return np.asarray(np.sin(turns + rng.uniform(0, 2) * cloud), np.float32)


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


def draw_slope(rng: np.random.Generator, side: int) -> Field:
    """Fade evenly from one side to another: smooth stains and shine."""
    y, x = np.mgrid[:side, :side].astype(np.float32) / side
    angle = rng.uniform(0, 2 * np.pi)
    bend = rng.uniform(-1, 1)
    slope = np.cos(angle) * x + np.sin(angle) * y + bend * (x - 0.5) * (y - 0.5)
    noise = rng.normal(0, rng.uniform(0, 0.05), (side, side))
    return np.asarray(slope + noise, np.float32)


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
