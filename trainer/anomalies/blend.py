"""Pasting: an anomaly source over a picture, and which pixels really changed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Box = tuple[slice, slice]  # rows, columns

LEAST_CHANGE = 8  # grey levels: a smaller change is none
HOLES = 7  # pixels: unchanged gaps of an anomaly up to so wide are part of it
_LEAST_SHOWN = 0.5  # share of a pasted mask that must have changed


@dataclass(frozen=True, slots=True)
class Anomaly:
    """A picture with an anomaly in it."""

    frame: Pixels  # [H, W, 3]
    mask: Mask  # [H, W], True where the picture shows the anomaly


def paste(base: Pixels, source: Pixels, mask: Mask, beta: float, feather: float) -> Pixels:
    """Blend (1 - M) N + (1 - beta) M A + beta M N as PRN does, all of it in 0..255.

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


def box_around(mask: Mask, padding: int) -> Box:
    """Rows and columns that hold a mask and `padding` pixels around it."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows = slice(max(0, top - padding), min(mask.shape[0], top + height + padding))
    return rows, slice(max(0, left - padding), min(mask.shape[1], left + width + padding))


def move_mask(mask: Mask, down: int, right: int) -> Mask:
    """Move a mask by whole pixels; what leaves the picture is gone."""
    matrix = np.array([[1, 0, right], [0, 1, down]], np.float32)
    size = (mask.shape[1], mask.shape[0])
    moved = cv2.warpAffine(mask.view(np.uint8), matrix, size, flags=cv2.INTER_NEAREST)
    return np.asarray(moved, np.uint8).view(np.bool_)


def change(base: Pixels, frame: Pixels) -> Pixels:
    """Largest difference of a colour at each pixel; uint8 [H, W]."""
    first, second, third = cv2.split(cv2.absdiff(base, frame))
    return np.asarray(cv2.max(cv2.max(first, second), third), np.uint8)


def changed_pixels(base: Pixels, frame: Pixels, mask: Mask, holes: int = HOLES) -> Mask:
    """Mark pixels that changed, and unchanged gaps between them that the mask covers.

    A texture crosses the tone of the picture in places: such pixels belong to the anomaly.
    """
    changed = (change(base, frame) >= LEAST_CHANGE).view(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (holes, holes))
    closed = cv2.morphologyEx(changed, cv2.MORPH_CLOSE, kernel)
    return np.asarray((closed.view(np.bool_) & mask) | changed.view(np.bool_), np.bool_)


def shown_enough(shown: Mask, mask: Mask, least_pixels: int) -> bool:
    """Return whether an anomaly is large enough and most of its mask has changed."""
    covered = int(np.count_nonzero(shown & mask))
    return covered >= max(least_pixels, _LEAST_SHOWN * np.count_nonzero(mask))


def standing_out(base: Pixels, frame: Pixels, mask: Mask, roughness: float) -> Mask:
    """Keep the connected pieces of a mask that differ by more than normal pictures do.

    Without this, a piece of a rough surface pasted onto another one would be called an anomaly.

    Args:
        base: uint8 [H, W, 3], without the anomaly.
        frame: uint8 [H, W, 3], with it.
        mask: bool [H, W].
        roughness: grey levels by which 5 x 5 patches of normal pictures differ.
    """
    smooth, changed = (np.asarray(cv2.blur(each, (5, 5)), np.uint8) for each in (base, frame))
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=8)
    flat = labels.ravel()
    pixels = np.bincount(flat, minlength=count)
    change_sum = np.bincount(flat, weights=change(smooth, changed).ravel(), minlength=count)
    kept = change_sum >= (LEAST_CHANGE / 2 + 2 * roughness) * pixels
    kept[0] = False
    return np.asarray(kept[labels], np.bool_)
