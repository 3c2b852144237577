"""Pasting: an anomaly source over a picture, and which pixels that really changed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

LEAST_CHANGE = 8  # grey levels: a smaller change is none
LEAST_PIXELS = 16  # a smaller anomaly is drawn anew
_NEAR = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 7))


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A picture with an anomaly in it."""

    frame: Pixels  # [H, W, 3]
    mask: Mask  # [H, W], True where the picture shows the anomaly


def paste(base: Pixels, source: Pixels, mask: Mask, beta: float, feather: float) -> Pixels:
    """Blend (1 - M) N + (1 - beta) M A + beta M N (PRN, section 3.3), all of it in 0..255.

    Args:
        base: the normal picture N, uint8 [H, W, 3].
        source: the anomaly source A, uint8 [H, W, 3].
        mask: M, bool [H, W].
        beta: opacity of the normal picture under the mask, 0..1.
        feather: standard deviation in pixels by which the edge is softened; 0 leaves it hard.
    """
    weight = mask.astype(np.float32)
    if feather > 0:
        weight = np.asarray(cv2.GaussianBlur(weight, (0, 0), feather), np.float32)
    weight *= np.float32(1 - beta)
    return np.asarray(cv2.blendLinear(source, base, weight, 1 - weight), np.uint8)


def change(base: Pixels, frame: Pixels) -> Pixels:
    """Largest difference of a colour at each pixel; uint8 [H, W]."""
    apart = cv2.absdiff(base, frame)
    first, second, third = cv2.split(apart)
    return np.asarray(cv2.max(cv2.max(first, second), third), np.uint8)


def changed_pixels(base: Pixels, frame: Pixels, mask: Mask) -> Mask:
    """Mark pixels that changed, and those under the mask with changed ones close around them.

    A texture crosses the tone of the picture in places: such pixels belong to the anomaly.
    """
    apart = change(base, frame)
    changed = (apart >= LEAST_CHANGE).view(np.uint8)
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, _NEAR)
    return np.asarray((closed.view(np.bool_) & mask) | changed.view(np.bool_), np.bool_)


def is_visible(base: Pixels, frame: Pixels, mask: Mask, roughness: float) -> bool:
    """Tell whether an anomaly differs by more than normal pictures do from each other.

    Without this, a piece of a rough surface pasted onto another one would be called an anomaly.
    """
    if np.count_nonzero(mask) < LEAST_PIXELS:
        return False
    apart = change(cv2.blur(base, (3, 3)), cv2.blur(frame, (3, 3)))
    mean = cv2.mean(apart, mask.view(np.uint8))[0]
    return bool(mean >= LEAST_CHANGE + 1.5 * roughness)
