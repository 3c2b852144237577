"""A product that does not exist: drawn parts on a belt, good and defective, with exact masks.

The demo learns it and the synthetic camera shows it. Everything follows from the seed.
"""

import shutil
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import SettingsError
from pipeline.product.defects import Defect, Scene, apply_on_top, apply_to_part
from pipeline.product.shapes import PartType, Pose, draw_shape, shape_of
from pipeline.product.surface import Light, belt_texture, compose, crop, expose, metal
from pipeline.progress import progress

__all__ = ["DEFECTS", "Defect", "PartType", "draw_part", "write_product"]

DEFECTS: dict[PartType, tuple[Defect, ...]] = {
    PartType.WASHER: (Defect.SCRATCH, Defect.DENT, Defect.STAIN, Defect.CHIP),
    PartType.NUT: (Defect.SCRATCH, Defect.STAIN, Defect.CHIP, Defect.CONTAMINATION),
    PartType.GEAR: (Defect.SCRATCH, Defect.MISSING, Defect.STAIN, Defect.CONTAMINATION),
    PartType.BRACKET: (Defect.SCRATCH, Defect.DENT, Defect.MISSING, Defect.CONTAMINATION),
}
_MOST_TURN = np.radians(4)
_MOST_SHIFT = 0.03  # part units
_MIN_PIXELS = 32
_MIN_TOUCHED = 20 / 256**2  # share of the picture; a smaller defect is drawn again elsewhere


def draw_part(
    rng: np.random.Generator,
    part_type: PartType,
    defect: Defect | None,
    size: tuple[int, int] = (256, 256),
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Draw one part as a camera over the belt sees it.

    Args:
        rng: decides everything that the other arguments leave open.
        part_type: what to draw.
        defect: what is wrong with it; None: nothing.
        size: (height, width), at least 32 pixels each.

    Returns: pixels uint8 [H, W, 3] RGB, and the pixels that the defect touches, bool [H, W].
    """
    if min(size) < _MIN_PIXELS:
        raise ValueError(f"parts are drawn from {_MIN_PIXELS} pixels a side, got {size}")
    while True:
        pixels, touched = _draw(rng, part_type, defect, size)
        if defect is None or touched.sum() >= max(1, _MIN_TOUCHED * touched.size):
            return pixels, touched


def _draw(
    rng: np.random.Generator, part_type: PartType, defect: Defect | None, size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    pose = Pose(
        size,
        angle=float(rng.uniform(-_MOST_TURN, _MOST_TURN)),
        shift=(float(rng.uniform(-1, 1) * _MOST_SHIFT), float(rng.uniform(-1, 1) * _MOST_SHIFT)),
    )
    light = Light(
        angle=float(np.radians(-125) + rng.normal(0, 0.06)),
        gain=float(rng.uniform(0.92, 1.08)),
        slope=float(rng.uniform(0.06, 0.14)),
    )
    shape = shape_of(part_type)
    face = metal(rng, part_type, pose, light)
    scene = Scene(pose, shape, light, draw_shape(pose, shape), face)
    touched = None if defect is None else apply_to_part(rng, defect, scene)
    belt = crop(rng, belt_texture(*size), size)
    picture = compose(belt, scene.cover, scene.face, part_type, light, pose.unit())
    if defect is not None and touched is None:
        touched = apply_on_top(rng, defect, scene, picture)
    return expose(rng, picture), np.zeros(size, np.bool_) if touched is None else touched


def write_product(
    folder: Path,
    seed: int,
    normals: int = 150,
    test_good: int = 40,
    per_defect: int = 10,
    part_types: tuple[PartType, ...] = tuple(PartType),
    size: tuple[int, int] = (256, 256),
) -> None:
    """Write a data set in MVTec layout, with a progress bar.

    Args:
        folder: gets train/good, test/good, test/DEFECT and ground_truth/DEFECT/NAME_mask.png.
        seed: of everything drawn.
        normals: good parts to learn from.
        test_good: good parts to test with.
        per_defect: defective parts of each kind.
        part_types: take turns.
        size: (height, width).

    Raises:
        SettingsError: the folder exists already. It appears whole or not at all.
    """
    if folder.exists():
        raise SettingsError(f"{folder} exists already: name another folder, or delete it")
    part_folder = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part_folder, ignore_errors=True)
    plan: list[tuple[str, Defect | None, int]] = [
        ("train/good", None, normals),
        ("test/good", None, test_good),
        *((f"test/{kind}", kind, per_defect) for kind in _kinds(part_types)),
    ]
    with progress("draw parts", sum(count for _, _, count in plan), shown=True) as advance:
        for number, (where, defect, count) in enumerate(plan):
            able = [kind for kind in part_types if defect is None or defect in DEFECTS[kind]]
            for index in range(count):
                rng = np.random.default_rng([seed, number, index])
                drawn = draw_part(rng, able[index % len(able)], defect, size)
                _write(part_folder, where, f"{index:04d}", *drawn, defect)
                advance(1)
    part_folder.rename(folder)


def _kinds(part_types: tuple[PartType, ...]) -> list[Defect]:
    """Name the defects that these part types can have."""
    return [defect for defect in Defect if any(defect in DEFECTS[kind] for kind in part_types)]


def _write(
    folder: Path,
    where: str,
    name: str,
    pixels: NDArray[np.uint8],
    touched: NDArray[np.bool_],
    defect: Defect | None,
) -> None:
    _write_png(folder / where / f"{name}.png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if defect is not None:
        mask = touched.astype(np.uint8) * 255
        _write_png(folder / "ground_truth" / defect / f"{name}_mask.png", mask)


def _write_png(path: Path, pixels: cv2.typing.MatLike) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    _, encoded = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    path.write_bytes(encoded.tobytes())
