"""GenICam cameras (GigE Vision, USB3 Vision, CoaXPress) through `harvesters`, the extra `genicam`.

The camera's maker ships the GenTL producer, a `.cti` file; makers' installers add its folder to the
environment variable GENICAM_GENTL64_PATH.

Triggers whose picture never came are found by the numbers that a device gives its pictures: GigE
Vision 1 in 16 bits, where 65535 is followed by 1 (0 is reserved), GigE Vision 2 and USB3 Vision in
64. The numbers begin again with every acquisition, so triggers between two acquisitions are
numbered by nobody and cannot be counted.
"""

import contextlib
import importlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from engines.extras import install_command
from pipeline.camera.pace import Wait
from pipeline.camera.source import FixedSize, Shot, unreadable_shot
from pipeline.camera.sources.pixel_formats import PIXEL_FORMATS, rgb_from_camera
from pipeline.errors import CameraLost, SettingsError, UnreadableFrame

_LOOK_S = 0.2  # how often a silent camera is left to see whether to stop
_LAST_16_BIT = 0xFFFF
_NEARER = _LAST_16_BIT // 2  # a way round that is longer than half is no roll-over but a restart
_MOST_MISSED = 1 << 32  # above it the number is garbage


@dataclass(frozen=True, slots=True)
class GenicamLibrary:
    """What is used of harvesters: its class, and the errors that it raises."""

    make_harvester: Callable[[], Any]
    timeout: type[Exception]
    errors: tuple[type[Exception], ...]  # unplugged, busy, refused


def load_genicam(
    import_module: Callable[[str], ModuleType] = importlib.import_module,
) -> GenicamLibrary:
    """Import harvesters, which is optional.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        core = import_module("harvesters.core")
        genapi, gentl = import_module("genicam.genapi"), import_module("genicam.gentl")
    except ImportError as error:
        raise SettingsError(
            f"GenICam cameras need harvesters ({error}): {install_command('genicam')}"
        ) from error
    errors = (gentl.GenericException, genapi.GenericException)
    return GenicamLibrary(core.Harvester, gentl.TimeoutException, errors)


def find_producers(search_path: str) -> list[Path]:
    """List the `.cti` files in the folders of a GENICAM_GENTL64_PATH."""
    folders = [Path(folder) for folder in search_path.split(os.pathsep) if folder]
    return sorted(file for folder in folders for file in folder.glob("*.cti"))


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a device wrote on a picture."""

    number: int | None  # None where it does not number its pictures
    ticks: int = 0  # its clock, in its own unit; 0 where it has none


class GenicamSource:
    """The pictures of one GenICam camera as they arrive."""

    live = True

    def __init__(
        self,
        serial: str,
        producers: list[Path],
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        wait: Wait,
        timeout_s: float = 5.0,
        library: GenicamLibrary | None = None,
    ) -> None:
        """Take a camera's serial number; nothing is opened before the first shot.

        Args:
            serial: the camera's; "" takes the only camera there is.
            producers: `.cti` files.
            clock: monotonic seconds.
            clock_ns: UTC; a shot is captured when the camera hands it over.
            wait: asked now and then; True ends the source.
            timeout_s: without a picture for so long the camera is lost.
            library: in place of harvesters.

        Raises:
            SettingsError: harvesters is not installed, or there is no producer.
        """
        self._library = library or load_genicam()
        if not producers:
            raise SettingsError(
                "no GenTL producer (.cti): install the camera maker's software and set "
                "GENICAM_GENTL64_PATH to its folder, or name the file with --cti"
            )
        self._serial = serial
        self._producers = producers
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._timeout_s = timeout_s
        self._size = FixedSize(f"GenICam camera {serial}")

    def shots(self, cursor: str) -> Iterator[Shot]:  # noqa: ARG002  # what has passed is gone
        """Open the camera and give its pictures.

        Raises:
            CameraLost: it is not there, failed, or gave no picture for `timeout_s`.
            SettingsError: a producer that is none, or a pixel format that is not read.
        """
        with contextlib.ExitStack() as stack:
            acquirer, triggers = self._acquire(stack), Triggers()
            heard_at = self._clock()
            while not self._wait(0):
                try:
                    buffer = acquirer.fetch(timeout=_LOOK_S)
                except self._library.timeout as error:
                    if self._clock() - heard_at >= self._timeout_s:
                        raise CameraLost(
                            f"no picture from GenICam camera {self._serial} "
                            f"for {self._timeout_s:g} s: is it triggered?"
                        ) from error
                    continue
                except self._library.errors as error:
                    raise CameraLost(f"GenICam camera {self._serial} failed: {error}") from error
                missed = triggers.missed(self._stamp(buffer))
                at_ns, at_s = self._clock_ns(), time.monotonic()
                yield replace(self._shot(buffer, at_ns), missed=missed, captured_s=at_s)
                heard_at = self._clock()

    def _acquire(self, stack: contextlib.ExitStack) -> Any:  # noqa: ANN401  # harvesters has no types
        """Start the camera; `stack` stops it and lets it go."""
        harvester = self._library.make_harvester()
        stack.callback(self._calmly, harvester.reset)
        for producer in self._producers:
            if not producer.is_file():
                raise SettingsError(f"no GenTL producer {producer}")
            harvester.add_file(str(producer))
        absent: tuple[type[Exception], ...] = (ValueError, IndexError, *self._library.errors)
        try:
            harvester.update()
            acquirer = harvester.create({"serial_number": self._serial} if self._serial else None)
        except absent as error:
            found = ", ".join(str(device.serial_number) for device in harvester.device_info_list)
            raise CameraLost(
                f"no GenICam camera with serial number {self._serial!r} (found: {found or 'none'}):"
                f" {error}"
            ) from error
        stack.callback(self._calmly, acquirer.destroy)
        try:
            acquirer.start()
        except self._library.errors as error:
            raise CameraLost(f"GenICam camera {self._serial} does not start: {error}") from error
        stack.callback(self._calmly, acquirer.stop)
        return acquirer

    def _stamp(self, buffer: Any) -> Stamp:  # noqa: ANN401  # harvesters has no types
        """Read the device's number of a picture, and its clock, where it gives them."""
        if buffer is None:
            return Stamp(None)
        try:
            return Stamp(int(buffer.module.frame_id), int(buffer.timestamp))
        except self._library.errors:
            return Stamp(None)

    def _shot(self, buffer: Any, captured_ns: int) -> Shot:  # noqa: ANN401  # harvesters has no types
        """Copy the picture out of a buffer and give the buffer back to the camera."""
        if buffer is None:
            return unreadable_shot("incomplete buffer: frames are lost on the way", captured_ns)
        with buffer:
            components = buffer.payload.components
            if not components or not hasattr(components[0], "data_format"):
                return unreadable_shot("buffer without a picture", captured_ns)
            component = components[0]
            if component.data_format not in PIXEL_FORMATS:
                raise SettingsError(
                    f"camera sends {component.data_format}: set its PixelFormat to one of "
                    f"{', '.join(PIXEL_FORMATS)}"
                )
            shape = (int(component.height), int(component.width))
            padding = self._line_padding(component)
            try:
                pixels = rgb_from_camera(component.data, component.data_format, shape, padding)
            except UnreadableFrame as error:
                return unreadable_shot(str(error), captured_ns)
        return self._size.check(Shot(pixels, captured_ns, "", ""))

    def _line_padding(self, component: Any) -> int:  # noqa: ANN401  # harvesters has no types
        """Return how many bytes after each line carry nothing; harvesters 1.4.3 leaves them in."""
        absent: tuple[type[Exception], ...] = (AttributeError, *self._library.errors)
        try:
            return int(component.x_padding or 0)
        except absent:
            return 0

    def _calmly(self, release: Callable[[], None]) -> None:
        """A camera that is unplugged cannot be stopped in order."""
        with contextlib.suppress(*self._library.errors):
            release()

    def close(self) -> None:
        """Nothing is held once `shots` has ended."""


class Triggers:
    """Follows the numbers of one acquisition."""

    def __init__(self) -> None:
        self._before = Stamp(None)
        self._unnumbered = 0  # shots since then

    def missed(self, now: Stamp) -> int:
        """Return how many triggers before this shot gave no picture; 0 if unknown."""
        if now.number is None:
            self._unnumbered += 1
            return 0
        missed = max(0, triggers_between(self._before, now) - 1 - self._unnumbered)
        self._before, self._unnumbered = now, 0
        return missed


def triggers_between(before: Stamp, now: Stamp) -> int:
    """Count the triggers from one picture to the next: 1 where none was missed.

    A device that was switched off begins at a low number, as one that rolls over does: its clock
    tells them apart, and where it has none, the shorter way round.
    """
    if before.number is None or now.number is None or 0 < now.ticks < before.ticks:
        return 1
    step = now.number - before.number
    if step < 0 and before.number <= _LAST_16_BIT:
        step += _LAST_16_BIT
        timed = 0 < before.ticks <= now.ticks
        step = step if timed or step <= _NEARER else 1
    return step if 1 <= step <= _MOST_MISSED else 1
