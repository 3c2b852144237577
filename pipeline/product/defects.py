"""Defects of the drawn product, each with the exact pixels that it touches."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.product.shapes import (
    Mask,
    Points,
    Pose,
    Shape,
    draw_shape,
    with_broken_tooth,
    without_hole,
)
from pipeline.product.surface import Light, Picture, Plane

Touched = NDArray[np.bool_]  # [H, W]
_FRACTION_BITS = 4
_ONE_DOWN_RIGHT = np.array([[1, 0, 1], [0, 1, 1]], np.float32)
_VISIBLE = 0.3  # share of a pixel that a defect covers where it counts as touched


class Defect(StrEnum):
    """What may be wrong with a part."""

    SCRATCH = "scratch"
    DENT = "dent"
    STAIN = "stain"
    CHIP = "chip"  # material broken off the rim
    MISSING = "missing"  # a hole that was not drilled, a tooth that broke off
    CONTAMINATION = "contamination"  # a fibre or swarf that lies on the part


@dataclass(slots=True)
class Scene:
    """A part while it is drawn; defects change it in place."""

    pose: Pose
    shape: Shape
    light: Light
    cover: Mask  # [H, W]
    face: Plane  # [H, W], brightness of the part


def apply_to_part(rng: np.random.Generator, defect: Defect, scene: Scene) -> Touched | None:
    """Change outline or face of the part; None where the defect lies on top of it."""
    return _ON_PART[defect](rng, scene) if defect in _ON_PART else None


def apply_on_top(
    rng: np.random.Generator, defect: Defect, scene: Scene, picture: Picture
) -> Touched:
    """Change the lit picture in place."""
    return (_stain if defect is Defect.STAIN else _contamination)(rng, scene, picture)


def _spot(rng: np.random.Generator, scene: Scene, margin: float) -> tuple[float, float]:
    """Find a pixel (x, y) on the part, `margin` part units from its edge where possible."""
    side = 2 * max(1, round(margin * scene.pose.unit())) + 1
    inside = cv2.erode(scene.cover, np.ones((side, side), np.uint8), borderValue=0)
    found = np.flatnonzero((inside if inside.max() == 255 else scene.cover) == 255)  # noqa: PLR2004
    y, x = divmod(int(rng.choice(found)), scene.cover.shape[1])
    return float(x), float(y)


def _scratch(rng: np.random.Generator, scene: Scene) -> Touched:
    """A bent line, bright on one flank and dark on the other."""
    unit = scene.pose.unit()
    x, y = _spot(rng, scene, 0.06)
    length = unit * rng.uniform(0.16, 0.55)
    width = max(1, round(unit * rng.uniform(0.010, 0.020)))
    line = _stroke(scene.cover.shape, _curve(rng, x, y, length, 0.5), width)
    line *= scene.cover / np.float32(255)
    flank = cv2.warpAffine(line, _ONE_DOWN_RIGHT, (line.shape[1], line.shape[0]))
    contrast = float(rng.uniform(0.16, 0.30) * rng.choice([-1, 1]))
    scene.face += contrast * (line - 0.5 * flank)
    return line > _VISIBLE


def _dent(rng: np.random.Generator, scene: Scene) -> Touched:
    """A hollow: the wall toward the lamp is dark, the far wall bright."""
    unit = scene.pose.unit()
    x, y = _spot(rng, scene, 0.08)
    radii = [float(unit * rng.uniform(0.05, 0.10)) for _ in range(2)]
    u, v = _turned_grid(scene.cover.shape, x, y, rng.uniform(0, np.pi))
    depth = np.exp(-2 * ((u / radii[0]) ** 2 + (v / radii[1]) ** 2))
    toward = scene.light.toward()
    tilt = toward[0] * cv2.Sobel(depth, cv2.CV_32F, 1, 0)
    tilt += toward[1] * cv2.Sobel(depth, cv2.CV_32F, 0, 1)
    strength = rng.uniform(0.20, 0.34) / max(float(np.abs(tilt).max()), 1e-6)
    scene.face -= float(strength) * tilt + 0.06 * depth
    return np.asarray((depth > np.exp(-2.0)) & (scene.cover > 127), np.bool_)  # noqa: PLR2004


def _chip(rng: np.random.Generator, scene: Scene) -> Touched:
    """A piece broken off the outer rim."""
    outer = scene.pose.pixels(scene.shape.outer)
    x, y = _along(rng, outer)
    radius = scene.pose.unit() * rng.uniform(0.06, 0.12)
    gone = scene.cover * _blob(scene.cover.shape, _ragged(rng, x, y, radius, 0.35))
    scene.cover = np.round(scene.cover - gone).astype(np.uint8)
    return gone > 255 * _VISIBLE


def _missing(rng: np.random.Generator, scene: Scene) -> Touched:
    """A hole was only marked and not drilled, or a tooth broke off."""
    shape, whole = scene.shape, scene.cover
    feature = int(rng.integers(len(shape.drilled) + shape.teeth))
    if feature < len(shape.drilled):
        hole = shape.drilled[feature]
        lacking = without_hole(shape, hole)
        _punch(scene, shape.holes[hole])
    else:
        remains = rng.uniform(0, 0.45, 7)
        lacking = with_broken_tooth(shape, feature - len(shape.drilled), remains)
    scene.cover = draw_shape(scene.pose, lacking)
    return cv2.absdiff(whole, scene.cover) > 255 * _VISIBLE


def _punch(scene: Scene, hole: Points) -> None:
    """Mark where a hole belongs: the drill touched and was taken away."""
    outline = scene.pose.pixels(hole)
    centre = outline.mean(axis=0)
    ring = _stroke(scene.cover.shape, centre + 0.75 * (outline - centre), 1)
    dimple = _blob(scene.cover.shape, centre + 0.3 * (outline - centre))
    scene.face -= 0.12 * ring + 0.22 * dimple


def _stain(rng: np.random.Generator, scene: Scene, picture: Picture) -> Touched:
    """Oil or rust: darker, coloured, ragged."""
    x, y = _spot(rng, scene, 0.05)
    radius = scene.pose.unit() * rng.uniform(0.05, 0.13)
    blob = _blob(scene.cover.shape, _ragged(rng, x, y, radius, 0.3))
    blob = np.asarray(cv2.GaussianBlur(blob, (0, 0), 0.009 * scene.pose.unit()), np.float32)
    blob *= scene.cover / np.float32(255)
    colours = np.array([[0.62, 0.42, 0.28], [0.42, 0.40, 0.36]], np.float32)
    strength = float(rng.uniform(0.55, 0.85))
    keep = 1 - strength * blob[..., None] * (1 - colours[rng.integers(2)])
    picture *= keep
    return blob > _VISIBLE


def _contamination(rng: np.random.Generator, scene: Scene, picture: Picture) -> Touched:
    """A fibre of cloth, or bits of swarf."""
    unit = scene.pose.unit()
    x, y = _spot(rng, scene, 0.04)
    if rng.random() < 0.5:  # noqa: PLR2004
        curve = _curve(rng, x, y, unit * rng.uniform(0.25, 0.6), 2.2)
        cover = _stroke(scene.cover.shape, curve, max(1, round(unit * 0.012)))
        colour = np.array([[0.12, 0.18, 0.42], [0.50, 0.12, 0.10]])[rng.integers(2)]
    else:
        cover = np.zeros(scene.cover.shape, np.float32)
        for _ in range(int(rng.integers(2, 6))):
            away = unit * rng.normal(0, 0.05, 2)
            curl = _curve(rng, x + away[0], y + away[1], unit * rng.uniform(0.04, 0.12), 2.5)
            cover = np.maximum(cover, _stroke(cover.shape, curl, max(1, round(unit * 0.018))))
        colour = np.array([[0.95, 0.93, 0.88], [0.10, 0.09, 0.09]])[rng.integers(2)]
    seen = cover[..., None]
    picture += seen * (colour.astype(np.float32) - picture)
    return cover > _VISIBLE


def _along(rng: np.random.Generator, polygon: Points) -> Points:
    """Pick a point on the outline of a polygon, all of it equally likely."""
    steps = np.roll(polygon, -1, axis=0) - polygon
    ends = np.cumsum(np.linalg.norm(steps, axis=1))
    at = int(np.searchsorted(ends, rng.uniform(0, ends[-1])))
    return np.asarray(polygon[at] + rng.uniform() * steps[at], np.float64)


def _ragged(
    rng: np.random.Generator, x: float, y: float, radius: float, roughness: float
) -> Points:
    """Make a closed, uneven outline around a point, pixels."""
    angles = np.linspace(0, 2 * np.pi, 14, endpoint=False)
    radii = radius * (1 + roughness * rng.uniform(-1, 1, angles.size))
    return np.stack([x + radii * np.cos(angles), y + radii * np.sin(angles)], axis=1)


def _curve(rng: np.random.Generator, x: float, y: float, length: float, bend: float) -> Points:
    """Make an open curve that starts at a point and turns by about `bend` radians, pixels."""
    steps = 24
    turn = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, bend / steps**0.5, steps))
    moves = length / steps * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return np.asarray(np.array([x, y]) + np.cumsum(moves, axis=0), np.float64)


def _blob(shape: tuple[int, ...], outline: Points) -> Plane:
    """Fill an outline given in pixels; 0..1."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [_fixed(outline)], 255, cv2.LINE_AA, _FRACTION_BITS)
    return np.asarray(mask / np.float32(255), np.float32)


def _stroke(shape: tuple[int, ...], curve: Points, width: int) -> Plane:
    """Draw an open curve given in pixels; 0..1."""
    mask = np.zeros(shape, np.uint8)
    cv2.polylines(mask, [_fixed(curve)], False, 255, width, cv2.LINE_AA, _FRACTION_BITS)  # noqa: FBT003
    return np.asarray(mask / np.float32(255), np.float32)


def _fixed(points: Points) -> NDArray[np.int32]:
    return np.round(points * (1 << _FRACTION_BITS)).astype(np.int32)


def _turned_grid(shape: tuple[int, ...], x: float, y: float, angle: float) -> tuple[Plane, Plane]:
    """Each pixel's offset from a point, in axes turned by an angle."""
    across = np.arange(shape[1], dtype=np.float32)[None, :] - np.float32(x)
    down = np.arange(shape[0], dtype=np.float32)[:, None] - np.float32(y)
    cosine, sine = math.cos(angle), math.sin(angle)
    return cosine * across + sine * down, cosine * down - sine * across


_ON_PART: dict[Defect, Callable[[np.random.Generator, Scene], Touched]] = {
    Defect.SCRATCH: _scratch,
    Defect.DENT: _dent,
    Defect.CHIP: _chip,
    Defect.MISSING: _missing,
}
