"""How a training went, as a picture: losses over steps, and what the held-out pictures said."""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.results.sheets import write_text
from trainer.training.checkpoint import Check
from trainer.training.fit import Step

_HEIGHT, _WIDTH, _MARGIN = 300, 640, 40  # pixels
_TRAINING, _HELD = (150, 170, 200), (220, 60, 40)
_SMOOTH = 0.95  # of the running mean, from step to step

Curve = list[tuple[int, float]]  # step, loss above 0


class Losses:
    """The training loss of every step, smoothed."""

    def __init__(self) -> None:
        self.curve: Curve = []

    def add(self, step: Step) -> None:
        """Note a step."""
        before = self.curve[-1][1] if self.curve else step.loss
        self.curve.append((step.done, _SMOOTH * before + (1 - _SMOOTH) * step.loss))


def draw_curves(training: Curve, checks: Sequence[Check]) -> NDArray[np.uint8]:
    """Draw both curves on one logarithmic axis; uint8 [H, W, 3] RGB."""
    held = [(check.step, check.loss) for check in checks]
    sheet = np.full((_HEIGHT + 2 * _MARGIN, _WIDTH + 2 * _MARGIN, 3), 255, np.uint8)
    both = [*training, *held]
    if not both:
        write_text(sheet, "no step was done since this process began", (_MARGIN, _MARGIN))
        return sheet
    logs = [_log(loss) for _, loss in both]
    low = min(logs)
    high = max(*logs, low + 1e-6)
    last = max(step for step, _ in both)
    for curve, colour in ((training, _TRAINING), (held, _HELD)):
        points = [
            (
                _MARGIN + round(_WIDTH * step / last),
                _MARGIN + round(_HEIGHT * (high - _log(loss)) / (high - low)),
            )
            for step, loss in curve
        ]
        cv2.polylines(
            sheet, [np.array(points, np.int32)], isClosed=False, color=colour, thickness=2
        )
    span = f"loss {10**high:.2g} to {10**low:.2g}, {last} steps"
    text = f"{span}; blue: training, smoothed; red: held out"
    write_text(sheet, text, (_MARGIN, _MARGIN + _HEIGHT + 25))
    return sheet


def _log(loss: float) -> float:
    return math.log10(max(loss, 1e-12))
