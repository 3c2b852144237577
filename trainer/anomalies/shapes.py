"""Shapes of simulated anomalies: blobs, strokes, spots and bands.

Perlin blobs alone teach nothing of cracks and pores: real ones are thin lines and small spots.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.anomalies.noise import NoiseBank, draw_noise_mask

Mask = NDArray[np.bool_]

_SHARES = {"blob": 0.5, "stroke": 0.3, "spot": 0.12, "band": 0.08}
_FEW_BLOBS_SHARE = 0.6  # of blob masks: only a few of the blobs, as real defects are few
_FEW_BLOBS = 8
_SHIFT = 4  # fractional bits of drawn coordinates


def draw_shape(rng: np.random.Generator, bank: NoiseBank) -> Mask:
    """Draw a shape of any family; bool [H, W], may be empty."""
    family = rng.choice(list(_SHARES), p=list(_SHARES.values()))
    if family == "stroke":
        return draw_strokes(rng, bank.size)
    if family == "spot":
        return draw_spots(rng, bank.size)
    if family == "band":
        return draw_band(rng, bank.size)
    return draw_blobs(rng, bank)


def draw_blobs(rng: np.random.Generator, bank: NoiseBank) -> Mask:
    """Draw Perlin blobs: all of a field, or a few of them."""
    mask = draw_noise_mask(rng, bank)
    if rng.random() > _FEW_BLOBS_SHARE:
        return mask
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    few = int(rng.integers(1, _FEW_BLOBS + 1))
    if count - 1 <= few:
        return mask
    kept = np.zeros(count, np.bool_)
    kept[1 + rng.choice(count - 1, few, replace=False)] = True
    return np.asarray(kept[labels], np.bool_)


def draw_strokes(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """Draw one to three thin wandering lines, as cracks, scratches and hairs are."""
    canvas = np.zeros(size, np.uint8)
    for _ in range(int(rng.choice(3, p=(0.7, 0.2, 0.1))) + 1):
        _draw_stroke(rng, canvas)
    return canvas.view(np.bool_)


def draw_spots(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """Draw one to four small ellipses, as pores and dirt are."""
    canvas = np.zeros(size, np.uint8)
    largest = max(3.0, min(size) / 20)
    for _ in range(int(rng.integers(1, 5))):
        centre = _fixed(rng.uniform(0, 1, 2) * (size[1], size[0]))
        radius = np.exp(rng.uniform(np.log(2.0), np.log(largest)))
        axes = _fixed(radius * np.array((1.0, rng.uniform(0.5, 1))))
        angle = rng.uniform(0, 180)
        cv2.ellipse(canvas, centre, axes, angle, 0, 360, 1, cv2.FILLED, cv2.LINE_8, _SHIFT)
    return canvas.view(np.bool_)


def draw_band(rng: np.random.Generator, size: tuple[int, int]) -> Mask:
    """Draw a straight band across the picture, or one side of it, with a wavy border."""
    y = np.arange(size[0], dtype=np.float32)[:, None]
    x = np.arange(size[1], dtype=np.float32)
    angle = float(rng.choice((0, np.pi / 2)) + rng.normal(0, 0.15))
    if rng.random() < 0.5:  # noqa: PLR2004
        angle = rng.uniform(0, np.pi)
    side = min(size)
    y, x = y - rng.uniform(0.1, 0.9) * size[0], x - rng.uniform(0.1, 0.9) * size[1]
    cosine, sine = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    across, along = y * cosine + x * sine, x * cosine - y * sine
    waves = np.sin(along * np.float32(rng.uniform(2, 9) / side))
    across += np.float32(rng.uniform(0, 0.03) * side) * waves
    return np.asarray(np.abs(across) < side * rng.uniform(0.03, 0.3), np.bool_)


def _draw_stroke(rng: np.random.Generator, canvas: NDArray[np.uint8]) -> None:
    """Walk with a slowly turning heading; the line thins out towards its ends."""
    side = min(canvas.shape)
    points = int(rng.integers(6, 20))
    step = side * np.exp(rng.uniform(np.log(0.1), np.log(0.9))) / points
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, rng.uniform(0.05, 0.5), points))
    walk = np.cumsum(step * np.stack([np.cos(heading), np.sin(heading)], axis=1), axis=0)
    walk += rng.uniform(0, 1, 2) * canvas.shape[::-1] - walk[points // 2]
    widest = max(1.0, side / 256 * np.exp(rng.uniform(0, np.log(6))))
    taper = np.sin(np.linspace(0.15, np.pi - 0.15, points)) ** 0.5
    for start, end, width in zip(walk[:-1], walk[1:], taper[1:], strict=True):
        thickness = max(1, round(widest * width))
        cv2.line(canvas, _fixed(start), _fixed(end), 1, thickness, cv2.LINE_8, _SHIFT)


def _fixed(point: NDArray[np.float64]) -> tuple[int, int]:
    scaled = np.rint(point * (1 << _SHIFT)).astype(int)
    return int(scaled[0]), int(scaled[1])
