"""Videos, drawn parts, preparation, pace, and the way from a description to a source."""

import threading
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from fakes.camera import FakeTime, flat, write_flat
from hypothesis import given
from hypothesis import strategies as st

from pipeline.camera.open import SOURCES, SourceOptions, open_source
from pipeline.camera.pace import FramePacer
from pipeline.camera.prepare import Preparation, Roi
from pipeline.camera.source import Source, unreadable_shot
from pipeline.camera.sources.folder import FolderSource
from pipeline.camera.sources.genicam import GenicamSource
from pipeline.camera.sources.live import LiveSource
from pipeline.camera.sources.synthetic import SyntheticSource
from pipeline.camera.sources.video import VideoSource
from pipeline.camera.sources.watched_folder import WatchedFolderSource
from pipeline.errors import SettingsError, UnreadableFrame

FRAMES = 30


@pytest.fixture
def time() -> FakeTime:
    return FakeTime()


@pytest.fixture
def video(tmp_path: Path) -> Path:
    """A film whose frame number n has the red value 8 n."""
    path = tmp_path / "parts.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), (0, 0, 8 * number), np.uint8))
    writer.release()
    return path


def video_source(path: Path, time: FakeTime) -> VideoSource:
    return VideoSource(path, FramePacer(None, time.clock, time.wait), time.clock_ns)


def numbers(source: Source, cursor: str) -> list[int]:
    return [round(int(shot.pixels[20, 20, 0]) / 8) for shot in source.shots(cursor)]


def test_a_video_gives_every_frame_as_rgb(video: Path, time: FakeTime) -> None:
    shots = list(video_source(video, time).shots(""))
    assert [round(int(shot.pixels[20, 20, 0]) / 8) for shot in shots] == list(range(FRAMES))
    assert shots[0].pixels.shape == (48, 64, 3)
    assert all(shot.pixels[20, 20, 2] < 8 for shot in shots)
    assert [shot.cursor for shot in shots] == [str(number) for number in range(FRAMES)]


@pytest.mark.parametrize(("cursor", "first"), [("", 0), ("0", 1), ("16", 17), ("29", 30)])
def test_a_killed_camera_goes_on_in_the_video(
    video: Path, time: FakeTime, cursor: str, first: int
) -> None:
    assert numbers(video_source(video, time), cursor) == list(range(first, FRAMES))


def test_a_video_that_ends_in_the_middle_says_so_with_an_unreadable_part(
    video: Path, time: FakeTime
) -> None:
    content = video.read_bytes()
    video.write_bytes(content[: len(content) * 3 // 4])
    *whole, last = video_source(video, time).shots("")
    assert 1 <= len(whole) <= 25
    assert all(not shot.unreadable for shot in whole)
    assert "of 30 frames: cut off" in last.unreadable


@pytest.mark.parametrize("content", [b"", b"no video at all", b"RIFF\0\0\0\0AVI LIST"])
def test_a_file_that_is_no_video_is_told(tmp_path: Path, time: FakeTime, content: bytes) -> None:
    (tmp_path / "x.avi").write_bytes(content)
    with pytest.raises(SettingsError, match="does not open"):
        video_source(tmp_path / "x.avi", time)


@pytest.mark.parametrize("cursor", ["x", "0/a.png", "-1"])
def test_a_cursor_of_another_source_is_refused(video: Path, time: FakeTime, cursor: str) -> None:
    with pytest.raises(SettingsError, match="cursor"):
        next(video_source(video, time).shots(cursor))
    with pytest.raises(SettingsError, match="cursor"):
        next(synthetic(time).shots(cursor))


def synthetic(
    time: FakeTime, seed: int = 7, count: int | None = None, variety: int | None = None
) -> SyntheticSource:
    pacer = FramePacer(None, time.clock, time.wait)
    return SyntheticSource(seed, pacer, time.clock_ns, (64, 64), count=count, variety=variety)


def test_drawn_parts_follow_from_seed_and_index(time: FakeTime) -> None:
    shots = list(synthetic(time, count=6).shots(""))
    again = list(synthetic(time, count=6).shots("2"))
    assert [shot.cursor for shot in again] == ["3", "4", "5"]
    for one, other in zip(shots[3:], again, strict=True):
        assert one.part_id == other.part_id
        assert np.array_equal(one.pixels, other.pixels)
    other_seed = next(synthetic(time, seed=8).shots(""))
    assert not np.array_equal(shots[0].pixels, other_seed.pixels)


def test_a_variety_of_drawn_parts_is_shown_in_turn(time: FakeTime) -> None:
    shots = list(islice(synthetic(time, variety=3).shots(""), 7))
    assert len({shot.part_id for shot in shots}) == 7
    assert all(shots[at].pixels is shots[at % 3].pixels for at in range(7))


@given(rate=st.sampled_from([1, 2, 4, 8, 64]), held_up=st.integers(0, 20))
def test_a_pace_does_not_drift_and_does_not_catch_up(rate: int, held_up: int) -> None:
    time = FakeTime(now=0)
    pacer = FramePacer(rate, time.clock, time.wait)
    due = []
    for _ in range(5):
        assert not pacer.stopped()
        due.append(time.now)
        time.now += 0.5 / rate  # what is done with the shot
    assert due == [number / rate for number in range(5)]
    time.now += held_up
    before = time.now
    after = []
    for _ in range(3):
        pacer.stopped()
        after.append(time.now)
    assert after[2] - after[1] == 1 / rate
    assert after[0] >= before


def test_a_stopped_pace_ends_its_source(tmp_path: Path) -> None:
    for value in range(5):
        write_flat(tmp_path / f"{value}.png", value)
    time = FakeTime(stop_at=100.25)
    source = FolderSource(tmp_path, FramePacer(10, time.clock, time.wait), time.clock_ns)
    assert len(list(source.shots(""))) == 3


def test_a_region_is_cut_out_and_resized_and_its_millimetres_follow() -> None:
    pixels = np.zeros((100, 200, 3), np.uint8)
    pixels[10:60, 20:120] = 200
    preparation = Preparation((25, 25), Roi.parse("10,20,50,100"), (0.1, 0.2))
    frame = preparation.prepare(pixels)
    assert frame.shape == (25, 25, 3)
    assert frame.min() == 200
    assert frame.flags.c_contiguous
    assert preparation.scale((100, 200)) == pytest.approx((0.2, 0.8))


def test_a_region_without_resizing_is_contiguous() -> None:
    frame = Preparation((50, 100), Roi(10, 20, 50, 100)).prepare(np.zeros((100, 200, 3), np.uint8))
    assert frame.shape == (50, 100, 3)
    assert frame.flags.c_contiguous


def test_the_whole_picture_scales_by_its_own_size() -> None:
    assert Preparation((50, 50), None, (0.1, 0.1)).scale((100, 200)) == pytest.approx((0.2, 0.4))
    assert Preparation((50, 50)).scale((100, 200)) is None
    assert Preparation((31, 33)).prepare(flat(9, 31, 33)).shape == (31, 33, 3)
    assert Preparation((31, 33)).black().tolist() == np.zeros((31, 33, 3)).tolist()


@pytest.mark.parametrize("roi", [Roi(0, 0, 101, 10), Roi(0, 191, 10, 10), Roi(500, 0, 1, 1)])
def test_a_region_outside_of_the_picture_is_told(roi: Roi) -> None:
    with pytest.raises(UnreadableFrame, match="picture of 100x200: set --roi"):
        Preparation((10, 10), roi).prepare(np.zeros((100, 200, 3), np.uint8))


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,x", "-1,0,5,5", "0,0,0,5", "1.5,0,5,5"])
def test_a_region_that_is_none_is_told(text: str) -> None:
    with pytest.raises(SettingsError, match="region of interest"):
        Roi.parse(text)


def test_a_description_opens_its_source(tmp_path: Path, video: Path) -> None:
    (tmp_path / "maker.cti").touch()
    pytest.importorskip("harvesters", reason="the extra `genicam` is not installed")
    options = SourceOptions(producers=(tmp_path / "maker.cti",))
    wait = threading.Event().wait
    for spec, kind in {
        str(tmp_path): FolderSource,
        f"folder:{tmp_path}": FolderSource,
        f"watch:{tmp_path}": WatchedFolderSource,
        str(video): VideoSource,
        f"video:{video}": VideoSource,
        "synthetic:7": SyntheticSource,
        "opencv:0": LiveSource,
        "opencv:http://cam/video": LiveSource,
        "rtsp://user:secret@cam/live": LiveSource,
        "genicam:A1": GenicamSource,
        "genicam:": GenicamSource,
    }.items():
        source = open_source(spec, options, wait)
        assert type(source) is kind, spec
        source.close()


@pytest.mark.parametrize(
    "spec", ["", "nothing", "folder:", "usb:0", "/none/such", "ftp://cam", "5", "synthetic"]
)
def test_an_unknown_source_is_answered_with_those_there_are(spec: str) -> None:
    with pytest.raises(SettingsError) as error:
        open_source(spec, SourceOptions(), threading.Event().wait)
    assert SOURCES in str(error.value)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("opencv:front", "index or a URL"),
        ("synthetic:x", "whole number"),
        ("folder:/none/such", "no folder"),
        ("watch:/none/such", "no folder"),
        ("video:/none/such", "no video"),
    ],
)
def test_a_source_that_cannot_be_is_told(spec: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=reason):
        open_source(spec, SourceOptions(), threading.Event().wait)


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf")])
def test_a_rate_that_is_none_is_told(rate: float) -> None:
    with pytest.raises(SettingsError, match="rate"):
        open_source("synthetic:1", SourceOptions(rate=rate), threading.Event().wait)


def test_an_unreadable_shot_is_black_and_keeps_what_is_known_of_the_part() -> None:
    shot = unreadable_shot("why", 5, "part", "cursor")
    assert (shot.unreadable, shot.captured_ns, shot.part_id, shot.cursor) == (
        "why",
        5,
        "part",
        "cursor",
    )
    assert shot.pixels.max() == 0
