"""How belt, metal, light and sensor of the drawn product look; brightness 1 is white."""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.product.shapes import Mask, PartType, Pose

Plane = NDArray[np.float32]  # [H, W]
Picture = NDArray[np.float32]  # [H, W, 3]

_TINTS = {
    PartType.WASHER: (0.97, 0.99, 1.03),  # steel
    PartType.NUT: (1.04, 0.99, 0.86),  # yellow zinc
    PartType.GEAR: (0.80, 0.83, 0.88),  # dark steel
    PartType.BRACKET: (1.02, 1.02, 1.02),  # aluminium
}
_RING_STEPS = 256  # per part unit
_RING_COUNT = 1024  # up to a radius of 4, outside of every picture's shorter side
_BELT_TINT = (0.93, 1.0, 0.98)
# Steps that every part of a type has: radius in part units, width, brightness.
_GROOVES = {
    PartType.WASHER: ((0.69, 0.015, -0.10), (0.41, 0.015, -0.10)),
    PartType.NUT: ((0.50, 0.012, -0.16), (0.455, 0.012, 0.10), (0.72, 0.03, -0.06)),
    PartType.GEAR: ((0.57, 0.014, -0.16), (0.29, 0.014, -0.14), (0.60, 0.014, 0.08)),
    PartType.BRACKET: (),
}


@dataclass(frozen=True, slots=True)
class Light:
    """The lamp of one picture."""

    angle: float  # radians: where it comes from
    gain: float
    slope: float  # how much brighter the near side of the picture is

    def toward(self, turned: float = 0.0) -> tuple[float, float]:
        """Direction (x, y) of the lamp, in axes turned by an angle."""
        return math.cos(self.angle - turned), math.sin(self.angle - turned)


@lru_cache
def belt_texture(height: int, width: int) -> Plane:
    """A piece of conveyor belt twice as large as the picture: woven ribs, wear, fine grain."""
    rng = np.random.default_rng(20261101)
    tall, wide = 2 * height, 2 * width
    y, x = np.mgrid[0:tall, 0:wide].astype(np.float32) * (256 / min(height, width))
    weave = np.sin((x + y) * 0.9) * np.sin((x - y) * 0.9)
    wear = _smooth(rng, tall, wide, 48)
    streaks = np.repeat(_smooth(rng, tall, 1, 6), wide, axis=1)
    grain = rng.standard_normal((tall, wide), np.float32)
    return np.asarray(
        0.20 + 0.018 * weave + 0.022 * wear + 0.012 * streaks + 0.012 * grain, np.float32
    )


@lru_cache
def brushed_texture(height: int, width: int) -> Plane:
    """Fine lines along x, of unit deviation, twice as large as the picture."""
    rng = np.random.default_rng(20261102)
    noise = rng.standard_normal((2 * height, 2 * width), np.float32)
    lines = cv2.blur(noise, (min(61, 2 * width // 2 | 1), 1), borderType=cv2.BORDER_REFLECT)
    return np.asarray(lines / lines.std(), np.float32)


@lru_cache
def sensor_noise(height: int, width: int) -> Picture:
    """Noise of unit deviation, twice as large as the picture."""
    rng = np.random.default_rng(20261103)
    return rng.standard_normal((2 * height, 2 * width, 3), np.float32)


def _smooth(rng: np.random.Generator, height: int, width: int, cell: int) -> Plane:
    """Noise of unit deviation whose blobs are about `cell` pixels wide."""
    coarse = rng.standard_normal((height // cell + 3, width // cell + 3), np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC))


def crop(rng: np.random.Generator, texture: NDArray[np.float32], size: tuple[int, int]) -> Picture:
    """Cut a picture out of a texture, anywhere."""
    top = int(rng.integers(texture.shape[0] - size[0] + 1))
    left = int(rng.integers(texture.shape[1] - size[1] + 1))
    return texture[top : top + size[0], left : left + size[1]]


def metal(rng: np.random.Generator, part_type: PartType, pose: Pose, light: Light) -> Plane:
    """Brightness of the part's face over the whole picture."""
    u, v = _part_coordinates(pose)
    x, y = light.toward(pose.angle)
    along = x * u + y * v
    if part_type is PartType.BRACKET:
        return np.asarray(0.60 + 0.03 * _brush(rng, pose) + 0.09 * along, np.float32)
    radius = cv2.magnitude(u, v)
    rings = _rings(rng, part_type)[(radius * _RING_STEPS).astype(np.int32)]
    glint = (along / (radius + 0.05)) ** 2  # rings shine toward and away from the lamp
    return np.asarray(0.46 + rings + 0.22 * glint * glint, np.float32)


def _part_coordinates(pose: Pose) -> tuple[Plane, Plane]:
    """Each pixel's place in part units, u and v."""
    inverse = cv2.invertAffineTransform(pose.matrix())
    x = np.arange(pose.size[1], dtype=np.float32)[None, :]
    y = np.arange(pose.size[0], dtype=np.float32)[:, None]
    (a, b, c), (d, e, f) = inverse.tolist()
    return a * x + b * y + c, d * x + e * y + f


def _brush(rng: np.random.Generator, pose: Pose) -> Plane:
    """Brushed lines that turn with the part; where they lie is chance."""
    size = (pose.size[1], pose.size[0])
    lines = crop(rng, brushed_texture(*pose.size), pose.size)
    turn = cv2.getRotationMatrix2D((size[0] / 2, size[1] / 2), -np.degrees(pose.angle), 1)
    return np.asarray(cv2.warpAffine(lines, turn, size, borderMode=cv2.BORDER_REFLECT), np.float32)


def _rings(rng: np.random.Generator, part_type: PartType) -> Plane:
    """Brightness over the radius: fine marks of the lathe, and the steps of the type."""
    marks = rng.standard_normal(_RING_COUNT, np.float32)
    rings = 0.028 * cv2.blur(marks[None], (7, 1), borderType=cv2.BORDER_REFLECT)[0] * 7**0.5
    radius = np.arange(_RING_COUNT) / _RING_STEPS
    for at, width, brightness in _GROOVES[part_type]:
        rings += brightness * np.exp(-(((radius - at) / width) ** 2))
    return np.asarray(rings, np.float32)


def compose(
    belt: Plane, cover: Mask, face: Plane, part_type: PartType, light: Light, unit: float
) -> Picture:
    """Put the part on the belt: shadow, bevelled edge, colour, light.

    Args:
        belt: brightness [H, W].
        cover: of the part.
        face: brightness [H, W].
        part_type: sets the colour.
        light: the lamp.
        unit: pixels in one part unit.
    """
    size = (cover.shape[1], cover.shape[0])
    part = cover.astype(np.float32) / 255
    x, y = light.toward()
    edge = 4 * round(0.014 * unit) + 1
    bevel = cv2.GaussianBlur(part, (edge, edge), 0.014 * unit)
    slope = x * cv2.Sobel(bevel, cv2.CV_32F, 1, 0) + y * cv2.Sobel(bevel, cv2.CV_32F, 0, 1)
    away = np.array([[1, 0, -0.05 * unit * x], [0, 1, -0.05 * unit * y]], np.float32)
    soft = 2 * round(0.04 * unit) + 1
    shadow = cv2.warpAffine(cover, away, size)
    shadow = cv2.blur(cv2.blur(shadow, (soft, soft)), (soft, soft))  # nearly a Gaussian, and fast
    lamp = _lamp(size[1], size[0], light)
    above = (face + 0.24 * slope) * part * lamp
    below = belt * (1 - 0.6 / 255 * shadow.astype(np.float32)) * (1 - part) * lamp
    tints = zip(_TINTS[part_type], _BELT_TINT, strict=True)
    return np.asarray(cv2.merge([steel * above + rubber * below for steel, rubber in tints]))


def _lamp(height: int, width: int, light: Light) -> Plane:
    """How bright the lamp is at each pixel: nearer on one side, fading to the corners."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    toward = light.toward()
    across = light.gain * (1 + light.slope * toward[0] * x - 0.07 * x * x)
    down = light.gain * (light.slope * toward[1] * y - 0.07 * y * y)
    return np.asarray(across + down, np.float32)


def expose(rng: np.random.Generator, picture: Picture) -> NDArray[np.uint8]:
    """Take the picture: the lens softens, the sensor adds noise; uint8 [H, W, 3]."""
    height, width = picture.shape[:2]
    soft = cv2.GaussianBlur(picture, (3, 3), 0.55)
    noise = crop(rng, sensor_noise(height, width), (height, width))
    return np.asarray(np.clip(soft * 255 + 2 * noise, 0, 255), np.uint8)
