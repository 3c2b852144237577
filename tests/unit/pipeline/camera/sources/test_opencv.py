"""Live cameras: no trigger is forgotten, a silent camera is lost in time, devices are let go."""

import threading
from collections.abc import Callable, Iterator
from itertools import islice

import cv2
import numpy as np
import pytest
from fakes.camera import FakeTime, flat
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.camera.backlog import Backlog, CapturedPicture
from pipeline.camera.source import Shot
from pipeline.camera.sources.live import LiveSource, public_address
from pipeline.camera.sources.opencv import OpenCvCapture
from pipeline.camera.sources.pixel_formats import PIXEL_FORMATS, rgb_from_camera, rgb_from_opencv
from pipeline.errors import CameraLost, UnreadableFrame


class FakeCapture:
    """A device that gives these pictures and then ends, or hangs."""

    def __init__(
        self,
        pictures: list[NDArray[np.generic]],
        *,
        opens: bool = True,
        hang: threading.Event | None = None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self.pictures = pictures
        self.opens = opens
        self.hang = hang
        self.before = before
        self.released = threading.Event()

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        return self.opens

    def read(self) -> tuple[bool, NDArray[np.generic]]:
        self.before()
        if self.pictures:
            return True, self.pictures.pop(0)
        if self.hang:
            self.hang.wait(20)
        return False, np.empty(0)

    def release(self) -> None:
        self.released.set()


class TickingTime(FakeTime):
    """A second passes whenever somebody looks."""

    def clock(self) -> float:
        self.now += 1
        return self.now


def opencv_source(
    capture: FakeCapture,
    time: FakeTime,
    rate: float | None = None,
    address: str = "0",
    timeout_s: float = 5,
) -> LiveSource:
    return LiveSource(
        public_address(address),
        lambda: OpenCvCapture(capture),
        rgb_from_opencv,
        time.clock,
        time.clock_ns,
        time.wait,
        timeout_s,
        rate,
    )


def test_a_live_camera_gives_rgb_and_is_lost_at_its_end() -> None:
    bgr = np.full((4, 5, 3), (1, 2, 3), np.uint8)
    capture = FakeCapture([bgr, bgr[:, :, 0]])
    shots = opencv_source(capture, FakeTime()).shots("")
    colour, grey = next(shots), next(shots)
    assert colour.pixels[0, 0].tolist() == [3, 2, 1]
    assert grey.pixels[0, 0].tolist() == [1, 1, 1]
    assert (colour.cursor, colour.part_id, colour.unreadable) == ("", "", "")
    with pytest.raises(CameraLost, match="gives no more pictures"):
        next(shots)
    assert capture.released.wait(5)


def test_a_camera_that_does_not_open_is_lost() -> None:
    capture = FakeCapture([], opens=False)
    with pytest.raises(CameraLost, match="camera 0 does not open"):
        next(opencv_source(capture, FakeTime()).shots(""))
    assert capture.released.wait(5)


def test_a_camera_that_hangs_is_lost_after_its_time_out_and_released_when_it_wakes() -> None:
    hang = threading.Event()
    capture = FakeCapture([flat(1)], hang=hang)
    shots = opencv_source(capture, TickingTime()).shots("")
    next(shots)
    with pytest.raises(CameraLost, match="no picture from camera 0 for 5 s"):
        next(shots)
    assert not capture.released.is_set()
    hang.set()
    assert capture.released.wait(5)


def test_a_stopped_camera_ends_and_lets_its_device_go() -> None:
    time = FakeTime(stop_at=100.5)
    capture = FakeCapture([flat(value % 256) for value in range(100_000)])
    shots = opencv_source(capture, time).shots("")
    next(shots)
    time.now = 101
    assert list(shots) == []
    assert capture.released.wait(5)


def test_deep_and_odd_pictures_are_parts_without_picture() -> None:
    pictures: list[NDArray[np.generic]] = [
        np.zeros((4, 4), np.uint16),
        np.zeros((4, 4, 2), np.uint8),
    ]
    deep, odd = islice(opencv_source(FakeCapture(pictures), FakeTime()).shots(""), 2)
    assert "16 bits" in deep.unreadable
    assert "2 channels" in odd.unreadable


def test_a_rate_passes_over_what_comes_between() -> None:
    time = FakeTime()

    def tick() -> None:
        time.now += 1 / 16

    capture = FakeCapture([flat(value) for value in range(25)], before=tick)
    shots = before_loss(opencv_source(capture, time, rate=4).shots(""))
    assert [int(shot.pixels.max()) for shot in shots] == [0, 3, 7, 11, 15, 19, 23]


def before_loss(shots: Iterator[Shot]) -> list[Shot]:
    """Every shot until the camera is lost."""
    before = []
    try:
        for shot in shots:
            before.append(shot)  # noqa: PERF402  # extend would lose them all at the error
    except CameraLost:
        return before
    pytest.fail("the camera was not lost")


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 4))
def test_every_trigger_comes_out_once_and_in_order(puts: list[bool], pictures: int) -> None:
    """Whoever is slow gets old parts without pictures, never fewer parts."""
    backlog = Backlog(pictures)
    put, taken = 0, []
    for is_put in puts:
        if is_put:
            backlog.put(CapturedPicture(flat(put % 256), put))
            put += 1
        elif (found := backlog.take(0)) is not None:
            taken.append(found)
    backlog.end("over")
    while True:
        try:
            found = backlog.take(0)
        except CameraLost:
            break
        assert found is not None
        taken.append(found)
    assert [one.captured_ns for one in taken] == list(range(put))
    assert all(
        one.decoded is None or int(one.decoded[0, 0, 0]) == one.captured_ns % 256 for one in taken
    )
    assert all(one.decoded is not None for one in taken[-min(pictures, 1) :])


def test_a_backlog_that_nobody_empties_is_bounded() -> None:
    backlog = Backlog(2, passed_by=10)
    for number in range(12):
        backlog.put(CapturedPicture(flat(0), number))
    with pytest.raises(CameraLost, match="none was taken"):
        backlog.put(CapturedPicture(flat(0), 12))


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("0", "camera 0"),
        ("rtsp://user:secret@cam.local:554/live?token=1", "rtsp://cam.local:554/live"),
        ("rtsp://us@er:se@cret@cam/live", "rtsp://cam/live"),
        ("http://cam/video", "http://cam/video"),
    ],
)
def test_messages_show_no_password(address: str, shown: str) -> None:
    assert public_address(address) == shown


@pytest.mark.parametrize("pixel_format", PIXEL_FORMATS)
@pytest.mark.parametrize(("height", "width"), [(4, 6), (3, 3)])
def test_a_grey_scene_is_grey_in_every_pixel_format(
    pixel_format: str, height: int, width: int
) -> None:
    channels = {"RGB8": 3, "BGR8": 3, "RGBa8": 4, "BGRa8": 4}.get(pixel_format, 1)
    sent = np.full(height * width * channels, 77, np.uint8)
    pixels = rgb_from_camera(sent, pixel_format, (height, width))
    assert pixels.shape == (height, width, 3)
    assert np.all(pixels == 77)
    assert not np.shares_memory(pixels, sent)


@pytest.mark.parametrize(
    ("pixel_format", "corner"),
    [("BayerRG8", (0, 0)), ("BayerBG8", (1, 1)), ("BayerGR8", (0, 1)), ("BayerGB8", (1, 0))],
)
def test_a_red_scene_is_red_in_every_bayer_pattern(
    pixel_format: str, corner: tuple[int, int]
) -> None:
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[corner[0] :: 2, corner[1] :: 2] = 200
    centre = rgb_from_camera(mosaic, pixel_format, (8, 8))[2:6, 2:6]
    assert centre[..., 0].min() > 150
    assert centre[..., 1:].max() == 0


def test_buffers_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnreadableFrame, match="incomplete"):
        rgb_from_camera(np.zeros(47, np.uint8), "RGB8", (4, 4))
    with pytest.raises(UnreadableFrame, match="16 bits"):
        rgb_from_camera(np.zeros(16, np.uint16), "Mono8", (4, 4))
    with pytest.raises(UnreadableFrame, match="limit"):
        rgb_from_camera(np.zeros(16, np.uint8), "Mono8", (30_000, 30_000))
    with pytest.raises(UnreadableFrame, match="channels"):
        rgb_from_opencv(np.zeros((4, 4, 5), np.uint8))


def test_opencv_reads_a_device_that_fails_as_lost() -> None:
    def broken() -> None:
        raise cv2.error("driver")

    capture = FakeCapture([flat(1)], before=broken)
    with pytest.raises(CameraLost, match="failed: driver"):
        next(opencv_source(capture, FakeTime()).shots(""))
    assert capture.released.wait(5)


def test_closed_source_has_released_its_device() -> None:
    capture = FakeCapture([flat(value % 256) for value in range(100_000)])
    source = opencv_source(capture, FakeTime())
    next(source.shots(""))
    source.close()
    assert capture.released.is_set()


def test_device_that_hangs_at_the_end_is_left_behind_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hang = threading.Event()
    capture = FakeCapture([flat(1)], hang=hang)
    source = opencv_source(capture, FakeTime(), timeout_s=0.01)
    next(source.shots(""))
    source.close()
    assert "camera.hangs" in [record.message for record in caplog.records]
    hang.set()
    assert capture.released.wait(5)


def test_picture_of_another_size_is_unreadable_until_the_first_size_is_back() -> None:
    pictures = [flat(1), flat(2, 8, 16), flat(3, 8, 16), flat(4)]
    shots = before_loss(opencv_source(FakeCapture([*pictures]), FakeTime()).shots(""))
    assert [bool(shot.unreadable) for shot in shots] == [False, True, True, False]
    assert "camera 0 sends 8x16 instead of 8x8" in shots[1].unreadable
