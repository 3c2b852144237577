"""Pictures between the thread that reads a live camera and the process that offers them."""

import threading
import time
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import CameraLost


@dataclass(frozen=True, slots=True)
class CapturedPicture:
    """A trigger of a live camera."""

    decoded: NDArray[np.generic] | None  # None: pushed out, nobody took it in time
    captured_ns: int  # UTC, nanoseconds since the epoch
    captured_s: float = field(default_factory=time.monotonic)  # by the monotonic clock


class Backlog:
    """A queue that keeps every trigger but only the newest pictures: a part is never forgotten."""

    def __init__(self, pictures: int, passed_by: int = 1 << 17) -> None:
        """Keep at most so many pictures, and so many triggers that have lost theirs (a few MB)."""
        self._pictures = pictures
        self._passed_by = passed_by
        self._waiting: deque[CapturedPicture] = deque()
        self._pushed_out: deque[CapturedPicture] = deque()  # older than all that wait
        self._end: str | None = None
        self._changed = threading.Condition()

    def put(self, taken: CapturedPicture) -> None:
        """Add the newest picture, at the cost of the oldest one's pixels.

        Raises:
            CameraLost: nobody takes anything any more.
        """
        with self._changed:
            if len(self._waiting) == self._pictures:
                if len(self._pushed_out) == self._passed_by:
                    raise CameraLost(f"{self._passed_by} pictures passed by, none was taken")
                oldest = self._waiting.popleft()
                self._pushed_out.append(replace(oldest, decoded=None))
            self._waiting.append(taken)
            self._changed.notify_all()

    def end(self, reason: str) -> None:
        """End the backlog: no more will come."""
        with self._changed:
            self._end = reason
            self._changed.notify_all()

    def take(self, timeout_s: float) -> CapturedPicture | None:
        """Return the oldest trigger; None when none came in time.

        Raises:
            CameraLost: all are given and no more will come.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._pushed_out or self._waiting or self._end, timeout_s
            )
            if self._pushed_out:
                return self._pushed_out.popleft()
            if self._waiting:
                return self._waiting.popleft()
            if self._end is not None:
                raise CameraLost(self._end)
            return None
