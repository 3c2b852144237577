"""Seen anomalies shown as they are, varied so little that picture and mask stay true."""

import cv2
import numpy as np

from trainer.anomalies.augment import Matrix, apply_tones, warp
from trainer.anomalies.blend import Anomaly, Mask, Pixels

_SHIFT = 0.01  # of the side
_TURN_DEG = 2.0
_ZOOM = 0.02
_LEVELS = np.arange(256, dtype=np.float64)[:, None]
_HALF = 127


def vary_seen(rng: np.random.Generator, picture: Pixels, mask: Mask) -> Anomaly:
    """Shift, turn, scale and brighten a seen anomaly slightly.

    Args:
        rng: draws everything.
        picture: uint8 [H, W, 3].
        mask: bool [H, W].
    """
    height, width = mask.shape
    turn = rng.uniform(-_TURN_DEG, _TURN_DEG)
    matrix: Matrix = np.asarray(
        cv2.getRotationMatrix2D((width / 2, height / 2), turn, rng.uniform(1 - _ZOOM, 1 + _ZOOM))
    )
    matrix[:, 2] += rng.uniform(-_SHIFT, _SHIFT, 2) * (width, height)
    moved = warp(255 * mask.astype(np.uint8), matrix, cv2.BORDER_CONSTANT)
    tones = np.repeat(_LEVELS * rng.uniform(0.95, 1.05) + rng.uniform(-4, 4), 3, axis=1)
    frame = apply_tones(warp(picture, matrix, cv2.BORDER_REFLECT_101), tones)
    return Anomaly(frame, np.asarray(moved > _HALF, np.bool_))
