import json
from typing import Any

import numpy as np
import pytest

from pipeline.drift.detector import LEARN_FRAMES, DriftState
from pipeline.drift.history import drift_history

HOUR_NS = 3_600 * 10**9


def rows(factor: float, frames: int, hour: int, camera: str = "cam") -> list[dict[str, Any]]:
    """Return an hour's rows as the archive keeps them."""
    rng = np.random.default_rng(hour)
    made = []
    for frame in range(frames):
        noise = 1 + 0.05 * rng.standard_normal(19)
        row = {
            "camera": camera,
            "captured_ns": hour * HOUR_NS + frame * HOUR_NS // frames,
            "score": 0.9 if frame % 20 == 7 else 0.1,
            "threshold": 0.5,
            "engine": {"model": "prn-s", "version": "1", "sha256": "a" * 64},
            "distance": (factor * noise[:3]).tolist(),
            "cells": (0.01 * factor * noise[3:]).tolist(),
        }
        made.append(json.loads(json.dumps(row)))
    return made


def test_history_gives_each_hour_and_finds_the_change() -> None:
    one, two = rows(1.0, LEARN_FRAMES + 100, 100), rows(1.25, 100, 101)
    (history,) = drift_history([*one, *two])
    assert [period.start_ns for period in history.periods] == [100 * HOUR_NS, 101 * HOUR_NS]
    assert [(period.good, period.ng) for period in history.periods] == [(380, 20), (95, 5)]
    assert history.periods[0].distance == pytest.approx((1, 1, 1), rel=0.02)
    assert history.periods[1].distance == pytest.approx((1.25, 1.25, 1.25), rel=0.02)
    (dated,) = history.alarms
    assert dated.alarm.kind is history.state is DriftState.CAMERA
    assert 101 * HOUR_NS < dated.at_ns < 101.5 * HOUR_NS


def test_cameras_and_engines_have_histories_of_their_own() -> None:
    other = rows(2.0, 40, 101)
    for row in other:
        row["engine"]["sha256"] = "b" * 64
    histories = drift_history([*rows(1.0, 40, 100), *rows(1.0, 40, 100, "right"), *other])
    names = [(history.camera, history.engine_sha256[0]) for history in histories]
    assert names == [("cam", "a"), ("right", "a"), ("cam", "b")]
    assert [history.state for history in histories] == [DriftState.LEARNING] * 3


def test_verdicts_that_no_engine_gave_are_passed_over() -> None:
    shed = {**rows(1.0, 1, 100)[0], "distance": None, "cells": None, "engine": None, "score": None}
    assert drift_history([shed]) == []


def test_archives_of_earlier_releases_have_distances_only() -> None:
    old = rows(1.0, LEARN_FRAMES + 100, 100) + rows(1.3, 100, 101)
    for row in old:
        del row["cells"]
    (history,) = drift_history(old)
    assert [dated.alarm.kind for dated in history.alarms] == [DriftState.CAMERA]


@pytest.mark.parametrize("missing", ["cells", "distance"])
def test_verdicts_of_one_engine_may_lack_what_others_have(missing: str) -> None:
    """Workers of two releases judge side by side: each kind of row is held against its own."""
    mixed = rows(1.0, 2 * LEARN_FRAMES + 200, 100) + rows(1.3, 200, 101)
    for row in mixed[::2]:
        row[missing] = None
    (history,) = drift_history(mixed)
    assert [period.good + period.ng for period in history.periods] == [800, 200]
    assert history.periods[1].distance == pytest.approx((1.3, 1.3, 1.3), rel=0.02)
    assert len(history.alarms) == 2
    assert history.state is not DriftState.STEADY
