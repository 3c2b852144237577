"""Lost cameras: waiting times, and who is told."""

import random
from collections.abc import Iterator
from typing import Literal

from fakes.camera import FakeTime, flat
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera.reconnect import reconnecting
from pipeline.camera.source import Shot
from pipeline.errors import CameraLost
from pipeline.streams.connection import BackOff


def dice(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  # no secret


@given(st.integers(1, 10_000), st.integers())
def test_waiting_times_stay_between_their_bounds(failures: int, seed: int) -> None:
    back_off = BackOff(first_s=0.5, cap_s=30, jitter=0.5)
    whole_s = min(30, 0.5 * 2 ** min(failures - 1, 20))
    assert whole_s / 2 <= back_off.wait_s(failures, dice(seed)) <= whole_s


def test_waiting_times_double_up_to_the_cap() -> None:
    back_off = BackOff(first_s=1, cap_s=10, jitter=0)
    waits = [back_off.wait_s(failures, dice(0)) for failures in range(1, 7)]
    assert waits == [1, 2, 4, 8, 10, 10]


class Flaky:
    """A source that gives so many shots, is lost, and so on."""

    live = True

    def __init__(self, lives: list[int]) -> None:
        self.lives = lives
        self.asked: list[str] = []
        self.given = 0

    def shots(self, cursor: str) -> Iterator[Shot]:
        self.asked.append(cursor)
        if not self.lives:
            return
        for _ in range(self.lives.pop(0)):
            self.given += 1
            yield Shot(flat(0), 0, "", str(self.given))
        raise CameraLost("unplugged")

    def close(self) -> None:
        """Nothing is held."""


def test_a_lost_camera_is_told_once_and_its_return_once_and_waits_start_anew() -> None:
    time = FakeTime()
    told: list[tuple[str, str]] = []

    def tell(event: Literal["camera.lost", "camera.back"], reason: str) -> None:
        told.append((event, reason))

    source = Flaky([2, 0, 0, 1, 1])
    shots = list(
        reconnecting(
            source,
            "start",
            tell,
            time.clock,
            time.wait,
            BackOff(first_s=1, cap_s=100, jitter=0),
            dice(0),
        )
    )
    assert [shot.cursor for shot in shots] == ["1", "2", "3", "4"]
    assert source.asked == ["start", "2", "2", "2", "3", "4"]
    assert time.waits == [1, 2, 4, 1, 1]
    assert told == [
        ("camera.lost", "unplugged"),
        ("camera.back", "after 7.0 s"),
        ("camera.lost", "unplugged"),
        ("camera.back", "after 1.0 s"),
        ("camera.lost", "unplugged"),
    ]


def test_a_stop_ends_the_waiting_for_a_lost_camera() -> None:
    time = FakeTime(stop_at=103)
    shots = reconnecting(
        Flaky([0] * 100),
        "",
        lambda _event, _reason: None,
        time.clock,
        time.wait,
        BackOff(jitter=0),
        dice(0),
    )
    assert list(shots) == []
