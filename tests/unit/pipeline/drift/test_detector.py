import math
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.drift.detector import (
    DECIDE_FRAMES,
    LEARN_FRAMES,
    SLACK,
    Alarm,
    DriftDetector,
    DriftState,
    alarm_limit,
    read_signals,
)

SCALES, CELLS = 3, 16
Values = NDArray[np.float64]


class Camera:
    """Signals of normal parts: independent, of spread 0.1, moved and spoilt as a test likes."""

    def __init__(self, seed: int = 0, scales: int = SCALES, cells: int = CELLS) -> None:
        self._rng = np.random.default_rng(seed)
        self._scales, self._cells = scales, cells
        self.detector = DriftDetector(scales, cells)
        assert self.show(LEARN_FRAMES) == []

    def show(self, frames: int, moved: Values | float = 0.0, *, ng: bool = False) -> list[Alarm]:
        alarms = [self.detector.observe(self._signals(moved), ng=ng) for _ in range(frames)]
        return [alarm for alarm in alarms if alarm is not None]

    def _signals(self, moved: Values | float) -> Values:
        spread = 0.1 * self._rng.standard_normal(self._scales + self._cells)
        return np.asarray(spread + 0.1 * moved)


def moved(scales: float = 0.0, cells: float = 0.0, places: int = CELLS) -> Values:
    """Deviations by which all scales, and some cells of the grid, moved."""
    return np.array([scales] * SCALES + [cells] * places + [0.0] * (CELLS - places))


def test_limit_keeps_the_promised_rate_of_false_alarms() -> None:
    for signals in (1, 19):
        reach = alarm_limit(signals, 1e6) + 1.166
        run = (math.exp(2 * SLACK * reach) - 2 * SLACK * reach - 1) / (2 * SLACK**2)
        assert run / (2 * signals) == pytest.approx(1e6, rel=1e-6)


@pytest.mark.parametrize("skewed", [False, True])
def test_false_alarms_are_as_rare_as_promised_whatever_the_distribution(*, skewed: bool) -> None:
    promised, runs = 300, []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        detector, frames = DriftDetector(2, 4, promised), 0
        draw = rng.exponential if skewed else rng.normal
        while detector.kind is None and frames < 4 * promised:
            detector.observe(draw(size=6), ng=False)
            frames += detector.status().state is not DriftState.LEARNING
        runs.append(frames)
    assert np.mean(runs) >= promised


@pytest.mark.parametrize("sign", [-1, 1])
def test_light_that_changes_everywhere_is_drift_of_the_camera(sign: int) -> None:
    (alarm,) = Camera().show(60, sign * moved(2, 2))
    assert alarm.kind is DriftState.CAMERA
    assert alarm.cells_moved == CELLS


def test_change_at_a_few_places_is_drift_of_the_process() -> None:
    (alarm,) = Camera().show(120, moved(1, 3, places=3))
    assert (alarm.kind, alarm.cells_moved) == (DriftState.PROCESS, 3)


def test_change_in_one_scale_is_drift_of_the_process() -> None:
    one = moved()
    one[1] = 3
    (alarm,) = Camera().show(120, one)
    assert (alarm.kind, alarm.cells_moved) == (DriftState.PROCESS, 0)
    assert alarm.shift[1] > 2 > max(alarm.shift[0], alarm.shift[2])


def test_camera_that_was_pushed_moves_all_scales_and_no_place() -> None:
    (alarm,) = Camera().show(120, moved(3))
    assert (alarm.kind, alarm.cells_moved) == (DriftState.CAMERA, 0)


def test_one_distance_of_one_place_says_nothing_of_the_camera() -> None:
    (alarm,) = Camera(scales=1).show(120, np.array([3.0] + [0.0] * CELLS))
    assert alarm.kind is DriftState.PROCESS


def test_slow_change_is_found_and_turns_out_to_be_of_the_camera() -> None:
    camera, alarms = Camera(), []
    for step in range(300):  # of some places first, of all at last
        alarms += camera.show(1, moved(step / 100, step / 100, min(4 + step // 20, CELLS)))
    assert [alarm.kind for alarm in alarms] == [DriftState.PROCESS, DriftState.CAMERA]


def test_smaller_shift_takes_longer_to_find() -> None:
    delays = []
    for shift in (3, 2, 1.2):
        camera, frames = Camera(), 0
        while not camera.show(1, moved(shift, shift)):
            frames += 1
        delays.append(frames)
    assert all(short <= long for short, long in pairwise(delays))
    assert delays[0] < 2 * DECIDE_FRAMES < 100
    assert delays[2] < 100


def test_defects_are_neither_learned_nor_drift() -> None:
    camera = Camera()
    for _ in range(300):
        assert camera.show(9) == []
        assert camera.show(1, moved(30, 30), ng=True) == []
    status = camera.detector.status()
    assert status.state is DriftState.STEADY
    assert max(map(abs, status.cells)) < SLACK
    assert 0 < status.ng_share < 0.2


@pytest.mark.parametrize(("places", "kind"), [(CELLS, DriftState.CAMERA), (2, DriftState.PROCESS)])
def test_change_that_makes_every_part_ng_is_told_by_their_signals(
    places: int, kind: DriftState
) -> None:
    (alarm,) = Camera().show(40, moved(1, 8, places), ng=True)
    assert (alarm.kind, alarm.ng_share > 0.5) == (kind, True)


def test_nothing_is_said_before_all_is_learned() -> None:
    detector = DriftDetector(SCALES, CELLS)
    for frame in range(LEARN_FRAMES - 1):
        assert detector.observe(np.full(SCALES + CELLS, float(frame)), ng=False) is None
    assert detector.status().state is DriftState.LEARNING
    assert detector.status().learned == pytest.approx(1, abs=0.01)


def test_alarm_is_said_once_and_ends_when_all_is_as_before() -> None:
    camera = Camera()
    assert len(camera.show(400, moved(2, 2))) == 1
    assert camera.detector.status().state is DriftState.CAMERA
    assert camera.show(400) == []
    assert camera.detector.status().state is DriftState.STEADY
    assert len(camera.show(100, moved(2, 2))) == 1


def test_less_than_one_percent_is_no_drift() -> None:
    detector = DriftDetector(1, 1)
    for _ in range(LEARN_FRAMES):
        detector.observe(read_signals((1.0,), (0.1,)), ng=False)
    for _ in range(500):
        assert detector.observe(read_signals((1.003,), (0.1003,)), ng=False) is None


def test_standing_gives_distances_as_they_came() -> None:
    detector = DriftDetector(2, 1)
    for _ in range(LEARN_FRAMES + 200):
        detector.observe(read_signals((0.5, 2.0), (0.0,)), ng=False)
    assert detector.status().distance == pytest.approx((0.5, 2.0), rel=1e-3)
    assert detector.status().shift == pytest.approx((0, 0), abs=1e-6)
