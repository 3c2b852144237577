"""Folders of drawn pictures in the forms in which people bring them."""

from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 40, 60
SPOT = (slice(8, 16), slice(20, 34))


def picture(seed: int, *, defective: bool = False) -> np.ndarray:
    """A part that no other seed gives; a defect is a bright spot."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    waves = np.sin(rows / rng.uniform(4, 9) + rng.uniform(0, 6)) + np.cos(columns / 7)
    pixels = np.clip(110 + 25 * waves[..., None] + rng.normal(0, 4, (HEIGHT, WIDTH, 3)), 0, 255)
    if defective:
        pixels[SPOT] = 250
    return pixels.astype(np.uint8)


def truth() -> np.ndarray:
    """Where the defect is, bool."""
    mask = np.zeros((HEIGHT, WIDTH), np.bool_)
    mask[SPOT] = True
    return mask


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def good(folder: Path, count: int, suffix: str = ".png", start: int = 0) -> None:
    for number in range(start, start + count):
        save(folder / f"{number:03}{suffix}", picture(number))


def bad(folder: Path, count: int, suffix: str = ".png", start: int = 500) -> None:
    for number in range(start, start + count):
        save(folder / f"{number:03}{suffix}", picture(number, defective=True))


def masks(folder: Path, count: int, form: str = "{}_mask.png", start: int = 500) -> None:
    for number in range(start, start + count):
        save(folder / form.format(f"{number:03}"), truth().astype(np.uint8) * 255)


def mvtec(folder: Path, *, good_name: str = "good", kind: str = "scratch") -> Path:
    """12 to learn from, 3 good and 4 defective ones to test with."""
    good(folder / "train" / good_name, 12)
    good(folder / "test" / good_name, 3, start=100)
    bad(folder / "test" / kind, 4)
    masks(folder / "ground_truth" / kind, 4)
    return folder
