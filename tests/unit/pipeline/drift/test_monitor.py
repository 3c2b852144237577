import dataclasses
import logging

import numpy as np
import pytest
from prometheus_client import generate_latest
from rich.console import Console

from pipeline.commands.control import _drift_table
from pipeline.drift.detector import LEARN_FRAMES, DriftState, DriftStatus
from pipeline.drift.monitor import DEPARTED_S, MOST_CAMERAS, DriftMonitor
from pipeline.frames import Decision, EngineName, Judgement, Timings
from pipeline.telemetry import Telemetry
from pipeline.wire import decode_report, encode_report

JUDGEMENT = Judgement(
    judged=Decision.OK,
    score=0.2,
    normalised=0.3,
    threshold=0.5,
    pixel_threshold=0.5,
    regions=(),
    mask=None,
    engine=EngineName("prn-s", "1", "a" * 64),
    timings=Timings(1.0, 1.0, 1.0, 1),
    worker="worker",
    nearest=(0, 0, 0),
    distance=(1.0, 1.0, 1.0),
    cells=(0.01,) * 16,
)


def show(watch: DriftMonitor, frames: int, factor: float = 1.0, camera: str = "cam") -> int:
    """Show frames whose signals vary by 5 %; gives the number of alarms."""
    rng, alarms = np.random.default_rng(0), 0
    for noise in 1 + 0.05 * rng.standard_normal((frames, 19)):
        distance, cells = factor * noise[:3], factor * 0.01 * noise[3:]
        judgement = dataclasses.replace(
            JUDGEMENT, distance=tuple(distance.tolist()), cells=tuple(cells.tolist())
        )
        alarms += watch.observe(camera, judgement) is not None
    return alarms


def test_alarm_is_logged_once_and_says_what_to_look_at(caplog: pytest.LogCaptureFixture) -> None:
    watch = DriftMonitor()
    assert show(watch, LEARN_FRAMES) == 0
    assert show(watch, 200, factor=1.2) == 1
    (record,) = caplog.records
    assert (record.levelno, record.msg) == (logging.WARNING, "drift.alarm")
    said = vars(record)
    assert (said["camera"], said["kind"], said["cells_moved"]) == ("cam", "camera", "16 of 16")
    assert "light" in said["why"]


def test_another_engine_is_learned_anew() -> None:
    watch = DriftMonitor()
    show(watch, LEARN_FRAMES)
    assert watch.statuses()["cam"].state is DriftState.STEADY
    other = EngineName("prn-s", "2", "b" * 64)
    watch.observe("cam", dataclasses.replace(JUDGEMENT, engine=other, distance=(), cells=(0.1,)))
    assert watch.statuses()["cam"].state is DriftState.LEARNING


def test_cameras_drift_by_themselves() -> None:
    watch = DriftMonitor()
    for camera in ("left", "right"):
        show(watch, LEARN_FRAMES, camera=camera)
    show(watch, 100, factor=1.3, camera="left")
    states = {name: status.state for name, status in watch.statuses().items()}
    assert states == {"left": DriftState.CAMERA, "right": DriftState.STEADY}


def test_number_of_cameras_is_bounded_and_their_report_fits_a_heartbeat(
    caplog: pytest.LogCaptureFixture,
) -> None:
    watch = DriftMonitor()
    for number in range(MOST_CAMERAS + 5):
        show(watch, 1, camera=f"{number:064}")
    show(watch, LEARN_FRAMES, camera=f"{0:064}")
    assert len(watch.report()) == MOST_CAMERAS
    assert [record.msg for record in caplog.records] == ["drift.too_many_cameras"]
    longest = watch.report()[f"{0:064}"]
    report = {"drift": dict.fromkeys(watch.report(), longest)}
    assert decode_report(encode_report(report)) == {"v": 1, **report}


def test_camera_that_was_long_silent_makes_room_for_another() -> None:
    now_s = 0.0
    watch = DriftMonitor(lambda: now_s)
    for number in range(MOST_CAMERAS):
        show(watch, 1, camera=f"pod-{number}")
    now_s = DEPARTED_S
    show(watch, 1, camera="pod-0")
    now_s += 1.0
    show(watch, 1, camera="newer")
    assert sorted(watch.report()) == ["newer", "pod-0"]


def test_engine_that_gives_nothing_to_watch_is_not_watched() -> None:
    watch = DriftMonitor()
    watch.observe("cam", dataclasses.replace(JUDGEMENT, distance=(), cells=()))
    assert watch.statuses() == {}


def test_metrics_say_where_each_camera_stands() -> None:
    watch, telemetry = DriftMonitor(), Telemetry("line")
    show(watch, LEARN_FRAMES)
    show(watch, 100, factor=1.2)
    telemetry.show_drift(watch.statuses())
    page = generate_latest(telemetry.registry).decode()
    assert 'prn_drift_alarm{camera="cam",kind="camera",line="line"} 1.0' in page
    assert 'prn_drift_alarm{camera="cam",kind="process",line="line"} 0.0' in page
    assert 'prn_distance{camera="cam",line="line",scale="2"} 1.1' in page
    assert 'prn_drift_cells_moved{camera="cam",line="line"} 16.0' in page


def test_camera_that_is_gone_leaves_no_metric_behind() -> None:
    telemetry = Telemetry("line")
    there = DriftStatus(DriftState.STEADY, distance=(1.0,), shift=(0.0,))
    telemetry.show_drift(
        {"gone": dataclasses.replace(there, state=DriftState.CAMERA), "there": there}
    )
    telemetry.show_drift({"there": there})
    page = generate_latest(telemetry.registry).decode()
    assert 'camera="gone"' not in page
    assert 'prn_drift_alarm{camera="there",kind="camera",line="line"} 0.0' in page
    assert 'prn_distance{camera="there",line="line",scale="0"} 1.0' in page


def test_control_shows_drift_and_how_much_is_learned() -> None:
    watch = DriftMonitor()
    show(watch, LEARN_FRAMES)
    show(watch, 100, factor=1.2)
    show(watch, LEARN_FRAMES // 2, camera="new")
    console = Console(width=100)
    with console.capture() as captured:
        console.print(_drift_table([{"worker": "w", "drift": watch.report()}, {"worker": "old"}]))
    said = captured.get()
    assert "learning, 50%" in said
    assert "camera" in said
    assert "16" in said
