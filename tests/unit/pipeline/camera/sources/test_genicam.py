"""GenICam cameras over a fake harvester: buffers go back, cameras are let go."""

from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Self

import numpy as np
import pytest
from fakes.camera import FakeTime
from numpy.typing import NDArray

from pipeline.camera.sources.genicam import (
    GenicamLibrary,
    GenicamSource,
    find_producers,
    load_genicam,
)
from pipeline.errors import CameraLost, SettingsError


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
    x_padding: int = 0


@dataclass
class FakePayload:
    components: list[object]


@dataclass
class FakeModule:
    """What GenTL says of a buffer; a producer that does not number its pictures raises."""

    number: int | None = None

    @property
    def frame_id(self) -> int:
        if self.number is None:
            raise Unplugged("not available")
        return self.number


@dataclass
class FakeBuffer:
    payload: FakePayload
    module: FakeModule = field(default_factory=FakeModule)
    timestamp: int = 0
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


def numbered(number: int | None, ticks: int = 0) -> FakeBuffer:
    buffer = buffer_of(np.zeros(16, np.uint8), "Mono8")
    return FakeBuffer(buffer.payload, FakeModule(number), ticks)


def test_pictures_lost_on_the_way_are_seen_by_the_devices_numbers(tmp_path: Path) -> None:
    buffers = [numbered(7), numbered(8), None, numbered(12), numbered(None), numbered(14)]
    shots = list(islice(Genicam(tmp_path, [*buffers]).source().shots(""), 6))
    assert [shot.missed for shot in shots] == [0, 0, 0, 2, 0, 0]


def test_numbers_that_begin_again_with_an_acquisition_lose_nothing(tmp_path: Path) -> None:
    genicam = Genicam(tmp_path, [numbered(41), Unplugged("cable"), numbered(1), numbered(3)])
    source = genicam.source()
    with pytest.raises(CameraLost):
        list(source.shots(""))
    assert [shot.missed for shot in islice(source.shots(""), 2)] == [0, 1]


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


def test_a_missing_harvesters_is_told_with_the_command_that_installs_it() -> None:
    def not_installed(name: str) -> ModuleType:
        raise ImportError(name)

    with pytest.raises(SettingsError, match=r"pip install 'prn-line\[genicam\]'"):
        load_genicam(not_installed)


@pytest.mark.parametrize(("pixel_format", "channels"), [("Mono8", 1), ("BGR8", 3), ("BayerRG8", 1)])
@pytest.mark.parametrize("cut_off", [True, False])
def test_lines_with_padding_are_read_without_it(
    tmp_path: Path, pixel_format: str, channels: int, *, cut_off: bool
) -> None:
    """Some versions of harvesters cut the padding off, others leave it in."""
    lines = np.full((4, 6 * channels + 2), 255, np.uint8)
    lines[:, : 6 * channels] = 9
    sent = lines[:, : 6 * channels] if cut_off else lines
    component = FakeComponent(sent.ravel(), pixel_format, 4, 6, x_padding=2)
    (shot,) = islice(
        Genicam(tmp_path, [FakeBuffer(FakePayload([component]))]).source().shots(""), 1
    )
    assert shot.unreadable == ""
    assert shot.pixels.shape == (4, 6, 3)
    assert np.all(shot.pixels == 9)
