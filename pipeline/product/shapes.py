"""Outlines of the drawn parts, in part units: the shorter side spans -1..1; x before y."""

import math
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # [P, 2], x and y
Mask = NDArray[np.uint8]  # [H, W], 0..255: how much of a pixel is covered

_FRACTION_BITS = 4  # of OpenCV's fixed-point coordinates
_TEETH = 14
_TIP, _ROOT = 0.80, 0.65  # radii of the gear's teeth


class PartType(StrEnum):
    """What is drawn."""

    WASHER = "washer"
    NUT = "nut"
    GEAR = "gear"
    BRACKET = "bracket"


@dataclass(frozen=True, slots=True)
class Shape:
    """An outline with holes, and what a defective part may lack of them."""

    outer: Points
    holes: tuple[Points, ...]
    drilled: tuple[int, ...] = ()  # holes that may have been forgotten
    teeth: int = 0  # of four points each in `outer`: may break off


@dataclass(frozen=True, slots=True)
class Pose:
    """Where a part lies in the picture."""

    size: tuple[int, int]  # (height, width) of the picture
    angle: float  # radians
    shift: tuple[float, float]  # x, y in part units
    scale: float = 1.0

    def matrix(self) -> NDArray[np.float64]:
        """Part units -> pixels, affine [2, 3]."""
        height, width = self.size
        unit = min(height, width) / 2 * self.scale
        cosine, sine = unit * math.cos(self.angle), unit * math.sin(self.angle)
        x = (width - 1) / 2 + self.shift[0] * unit
        y = (height - 1) / 2 + self.shift[1] * unit
        return np.array([[cosine, -sine, x], [sine, cosine, y]])

    def pixels(self, points: Points) -> Points:
        """Part units -> pixels, points [P, 2]."""
        matrix = self.matrix()
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float64)

    def unit(self) -> float:
        """Pixels in one part unit."""
        return min(self.size) / 2 * self.scale


def circle(radius: float, x: float = 0.0, y: float = 0.0) -> Points:
    """Points of a circle."""
    angles = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    return np.stack([x + radius * np.cos(angles), y + radius * np.sin(angles)], axis=1)


def fill(mask: Mask, pose: Pose, points: Points, value: int) -> None:
    """Fill a polygon with smooth edges."""
    fixed = np.round(pose.pixels(points) * (1 << _FRACTION_BITS)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], value, cv2.LINE_AA, _FRACTION_BITS)


def draw_shape(pose: Pose, shape: Shape) -> Mask:
    """Draw how much of each pixel the part covers."""
    mask = np.zeros(pose.size, np.uint8)
    fill(mask, pose, shape.outer, 255)
    for hole in shape.holes:
        fill(mask, pose, hole, 0)
    return mask


@lru_cache
def shape_of(part_type: PartType) -> Shape:
    """Outline of a part type."""
    return {
        PartType.WASHER: _washer,
        PartType.NUT: _nut,
        PartType.GEAR: _gear,
        PartType.BRACKET: _bracket,
    }[part_type]()


def _washer() -> Shape:
    return Shape(circle(0.74), (circle(0.36),))


def _nut() -> Shape:
    corners = np.arange(6) * np.pi / 3
    hexagon = 0.84 * np.stack([np.cos(corners), np.sin(corners)], axis=1)
    return Shape(_rounded(hexagon, 0.06), (circle(0.4),))


def _gear() -> Shape:
    pitch = 2 * np.pi / _TEETH
    radii = np.array([_ROOT, _TIP, _TIP, _ROOT])[:, None]
    outline = []
    for tooth in range(_TEETH):
        angles = (tooth + np.array([-0.30, -0.16, 0.16, 0.30])) * pitch
        outline.append(radii * np.stack([np.cos(angles), np.sin(angles)], axis=1))
    spokes = np.arange(5) * 2 * np.pi / 5 + 0.3
    holes = [circle(0.095, 0.43 * np.cos(angle), 0.43 * np.sin(angle)) for angle in spokes]
    key = np.array([[-0.05, 0.0], [0.05, 0.0], [0.05, 0.25], [-0.05, 0.25]])
    return Shape(np.concatenate(outline), (*holes, circle(0.19), key), (0, 1, 2, 3, 4), _TEETH)


def _bracket() -> Shape:
    plate = np.array([[-0.84, -0.52], [0.84, -0.52], [0.84, 0.52], [-0.84, 0.52]])
    corners = [(-0.64, -0.32), (0.64, -0.32), (0.64, 0.32), (-0.64, 0.32)]
    holes = [circle(0.11, x, y) for x, y in corners]
    slot = np.array([[-0.3, -0.12], [0.3, -0.12], [0.3, 0.12], [-0.3, 0.12]])
    return Shape(_rounded(plate, 0.12), (*holes, _rounded(slot, 0.119)), (0, 1, 2, 3))


def without_hole(shape: Shape, hole: int) -> Shape:
    """Leave out a hole."""
    return replace(shape, holes=shape.holes[:hole] + shape.holes[hole + 1 :])


def with_broken_tooth(shape: Shape, tooth: int, remains: NDArray[np.float64]) -> Shape:
    """Break off a tooth; `remains` are the fracture's heights across it, 1 is a whole tooth."""
    first = 4 * tooth
    flanks = shape.outer[[first, first + 3]]
    angles = np.unwrap(np.arctan2(flanks[:, 1], flanks[:, 0]))
    across = np.linspace(angles[0], angles[1], len(remains) + 2)[1:-1]
    radii = _ROOT + remains * (_TIP - _ROOT)
    fracture = radii[:, None] * np.stack([np.cos(across), np.sin(across)], axis=1)
    outer = np.concatenate([shape.outer[: first + 1], fracture, shape.outer[first + 3 :]])
    return replace(shape, outer=outer)


def _rounded(corners: Points, radius: float) -> Points:
    """Replace each corner of a convex polygon by a quadratic curve that starts `radius` before."""
    before, after = np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0)
    t = np.linspace(0, 1, 9)[:, None]
    curves = []
    for corner, last, following in zip(corners, before, after, strict=True):
        start = corner + radius * (last - corner) / np.linalg.norm(last - corner)
        end = corner + radius * (following - corner) / np.linalg.norm(following - corner)
        curves.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.concatenate(curves)
