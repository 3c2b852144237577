"""Live cameras: no trigger is forgotten, a silent camera is lost in time, devices are let go."""

import random
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import cv2
import numpy as np
import pytest
from camera_fakes import FakeTime, flat
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.camera.backlog import Backlog, Taken
from pipeline.camera.colours import PIXEL_FORMATS, rgb_from_camera, rgb_from_opencv
from pipeline.camera.genicam import GenicamLibrary, GenicamSource, find_producers, load_genicam
from pipeline.camera.opencv import OpenCvSource, public_address
from pipeline.camera.reconnect import BackOff, reconnecting
from pipeline.camera.source import Shot
from pipeline.errors import CameraLost, SettingsError, UnreadableFrame


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
    capture: FakeCapture, time: FakeTime, rate: float | None = None, address: str = "0"
) -> OpenCvSource:
    return OpenCvSource(
        address,
        time.clock,
        time.clock_ns,
        time.wait,
        timeout_s=5,
        rate=rate,
        open_device=lambda _address, _timeout_s: capture,
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
            backlog.put(Taken(flat(put % 256), put))
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


def test_a_backlog_that_nobody_empties_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.camera.backlog._MOST_PUSHED_OUT", 10)
    backlog = Backlog(2)
    for number in range(12):
        backlog.put(Taken(flat(0), number))
    with pytest.raises(CameraLost, match="none was taken"):
        backlog.put(Taken(flat(0), 12))


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


class TimedOut(Exception):  # noqa: N818  # like GenICam's own
    """No buffer came in time."""


class Unplugged(Exception):  # noqa: N818  # like GenICam's own
    """The camera is gone."""


@dataclass
class FakeComponent:
    data: NDArray[np.generic]
    data_format: str
    height: int
    width: int


@dataclass
class FakePayload:
    components: list[object]


@dataclass
class FakeBuffer:
    payload: FakePayload
    queued: bool = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _at: TracebackType | None,
    ) -> None:
        self.queued = True


@dataclass
class FakeDevice:
    serial_number: str


@dataclass
class FakeCamera:
    """What harvesters calls an image acquirer."""

    buffers: list[FakeBuffer | Exception | None]
    time: FakeTime
    calls: list[str] = field(default_factory=list)

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> None:
        self.calls.append("stop")
        raise Unplugged

    def destroy(self) -> None:
        self.calls.append("destroy")

    def fetch(self, *, timeout: float) -> FakeBuffer | None:
        if not self.buffers:
            self.time.now += timeout
            raise TimedOut
        found = self.buffers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


@dataclass
class FakeHarvester:
    camera: FakeCamera
    files: list[str] = field(default_factory=list)
    was_reset: bool = False
    device_info_list: list[FakeDevice] = field(default_factory=list)

    def add_file(self, name: str) -> None:
        self.files.append(name)

    def update(self) -> None:
        self.device_info_list = [FakeDevice("A1"), FakeDevice("B2")]

    def create(self, key: dict[str, str] | None) -> FakeCamera:
        if key is None or key["serial_number"] not in {"A1", "B2"}:
            raise ValueError("no device found")
        return self.camera

    def reset(self) -> None:
        self.was_reset = True


@dataclass
class Genicam:
    """A source over a fake harvester."""

    tmp_path: Path
    buffers: list[FakeBuffer | Exception | None]
    time: FakeTime = field(default_factory=FakeTime)

    def __post_init__(self) -> None:
        self.camera = FakeCamera(self.buffers, self.time)
        self.harvester = FakeHarvester(self.camera)
        self.producer = self.tmp_path / "maker.cti"
        self.producer.touch()

    def source(self, serial: str = "A1") -> GenicamSource:
        library = GenicamLibrary(lambda: self.harvester, TimedOut, (TimedOut, Unplugged))
        return GenicamSource(
            serial,
            [self.producer],
            self.time.clock,
            self.time.clock_ns,
            self.time.wait,
            timeout_s=3,
            library=library,
        )


def buffer_of(data: NDArray[np.generic], pixel_format: str) -> FakeBuffer:
    return FakeBuffer(FakePayload([FakeComponent(data, pixel_format, 4, 4)]))


def test_a_genicam_camera_gives_rgb_and_gets_its_buffers_back(tmp_path: Path) -> None:
    buffers = [
        buffer_of(np.full(16, 9, np.uint8), "Mono8"),
        buffer_of(np.tile(np.array([1, 2, 3], np.uint8), 16), "BGR8"),
    ]
    genicam = Genicam(tmp_path, [*buffers])
    shots = genicam.source().shots("")
    grey, colour = islice(shots, 2)
    assert grey.pixels[0, 0].tolist() == [9, 9, 9]
    assert colour.pixels[0, 0].tolist() == [3, 2, 1]
    assert all(buffer.queued for buffer in buffers)
    assert genicam.harvester.files == [str(genicam.producer)]
    shots.close()  # type: ignore[attr-defined]
    assert genicam.camera.calls == ["start", "stop", "destroy"]
    assert genicam.harvester.was_reset


def test_a_silent_genicam_camera_is_lost_after_its_time_out(tmp_path: Path) -> None:
    genicam = Genicam(tmp_path, [buffer_of(np.zeros(16, np.uint8), "Mono8")])
    shots = genicam.source().shots("")
    next(shots)
    with pytest.raises(CameraLost, match=r"no picture from GenICam camera A1 for 3 s"):
        next(shots)
    assert 3 <= genicam.time.now - 100 < 3.5
    assert genicam.harvester.was_reset


def test_an_unplugged_genicam_camera_is_lost(tmp_path: Path) -> None:
    with pytest.raises(CameraLost, match="failed: cable"):
        next(Genicam(tmp_path, [Unplugged("cable")]).source().shots(""))


def test_a_genicam_camera_that_is_not_there_is_lost_and_the_others_are_named(
    tmp_path: Path,
) -> None:
    with pytest.raises(CameraLost, match=r"'C3' \(found: A1, B2\)"):
        next(Genicam(tmp_path, []).source("C3").shots(""))


def test_incomplete_and_odd_buffers_are_parts_without_picture(tmp_path: Path) -> None:
    buffers: list[FakeBuffer | Exception | None] = [
        None,
        FakeBuffer(FakePayload([])),
        FakeBuffer(FakePayload([object()])),
        buffer_of(np.zeros(15, np.uint8), "Mono8"),
        buffer_of(np.zeros(16, np.uint16), "Mono8"),
    ]
    shots = list(islice(Genicam(tmp_path, buffers).source().shots(""), 5))
    assert all(shot.unreadable for shot in shots)


def test_a_pixel_format_that_is_not_read_is_a_setting_to_mend(tmp_path: Path) -> None:
    buffers: list[FakeBuffer | Exception | None] = [buffer_of(np.zeros(16, np.uint16), "Mono12")]
    with pytest.raises(SettingsError, match=r"sends Mono12: set its PixelFormat to one of Mono8"):
        next(Genicam(tmp_path, buffers).source().shots(""))


def test_a_stopped_genicam_camera_ends(tmp_path: Path) -> None:
    genicam = Genicam(tmp_path, [], FakeTime(stop_at=101))
    assert list(genicam.source().shots("")) == []


def test_missing_producers_are_told(tmp_path: Path) -> None:
    genicam = Genicam(tmp_path, [])
    genicam.producer.unlink()
    with pytest.raises(SettingsError, match="no GenTL producer"):
        next(genicam.source().shots(""))
    library = GenicamLibrary(lambda: genicam.harvester, TimedOut, ())
    time = FakeTime()
    with pytest.raises(SettingsError, match="GENICAM_GENTL64_PATH"):
        GenicamSource("A1", [], time.clock, time.clock_ns, time.wait, library=library)


def test_producers_are_found_on_their_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.cti").touch()
    (tmp_path / "a" / "x.so").touch()
    assert find_producers(f"{tmp_path}/a:{tmp_path}/none:") == [tmp_path / "a" / "x.cti"]


def test_a_missing_harvesters_is_told_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "harvesters.core", None)
    with pytest.raises(SettingsError, match=r"pip install 'prn-line\[genicam\]'"):
        load_genicam()


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


def test_opencv_reads_a_device_that_fails_as_lost() -> None:
    def broken() -> None:
        raise cv2.error("driver")

    capture = FakeCapture([flat(1)], before=broken)
    with pytest.raises(CameraLost, match="failed: driver"):
        next(opencv_source(capture, FakeTime()).shots(""))
    assert capture.released.wait(5)
