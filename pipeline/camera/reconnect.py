"""When to look for a lost camera again, and whom to tell."""

import random
from collections.abc import Callable, Iterator
from typing import Literal

from pipeline.camera.pace import Wait
from pipeline.camera.source import Shot, Source
from pipeline.errors import CameraLost
from pipeline.streams.connection import BackOff

OnEvent = Callable[[Literal["camera.lost", "camera.back"], str], None]


def reconnecting(
    source: Source,
    cursor: str,
    tell: OnEvent,
    clock: Callable[[], float],
    wait: Wait,
    back_off: BackOff,
    rng: random.Random,
) -> Iterator[Shot]:
    """Yield the shots of a source that gets lost and comes back, until it ends.

    Args:
        source: asked again, after its last shot's cursor, whenever it is lost.
        cursor: where to start.
        tell: hears `camera.lost` with the reason at the first failure in a row, and `camera.back`
            with the time lost at the first shot afterwards.
        clock: monotonic seconds.
        wait: sleeps; True ends the shots.
        back_off: how long to wait before each attempt.
        rng: for the back-off's jitter.
    """
    failures, lost_at = 0, 0.0
    while True:
        try:
            for shot in source.shots(cursor):
                if failures:
                    tell("camera.back", f"after {clock() - lost_at:.1f} s")
                failures, cursor = 0, shot.cursor
                yield shot
        except CameraLost as error:
            failures += 1
            if failures == 1:
                lost_at = clock()
                tell("camera.lost", str(error))
            if wait(back_off.wait_s(failures, rng)):
                return
        else:
            return
