"""Time that passes only when somebody waits, and pictures of one value."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.camera.source import Shot


@dataclass
class FakeTime:
    """A clock; `wait` moves it and may act on the world in between."""

    now: float = 100.0
    stop_at: float = float("inf")
    waits: list[float] = field(default_factory=list)
    plans: list[tuple[float, Callable[[], object]]] = field(default_factory=list)  # when, what

    def clock(self) -> float:
        return self.now

    def clock_ns(self) -> int:
        return round(self.now * 1e9)

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        self.now += seconds
        due = [action for when, action in self.plans if when <= self.now]
        self.plans = [plan for plan in self.plans if plan[0] > self.now]
        for action in due:
            action()
        return self.now >= self.stop_at


def flat(value: int, height: int = 8, width: int = 8) -> NDArray[np.uint8]:
    return np.full((height, width, 3), value, np.uint8)


def write_flat(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), flat(value))


def values(shots: Iterable[Shot]) -> list[int]:
    return [int(shot.pixels[0, 0, 0]) for shot in shots]
