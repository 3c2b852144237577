"""A live camera through OpenCV: a USB device by its index, an RTSP or HTTP stream by its URL."""

import threading
from collections.abc import Callable, Iterator
from typing import Protocol
from urllib.parse import urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.camera.backlog import Backlog, CapturedPicture
from pipeline.camera.pace import Wait
from pipeline.camera.source import Shot, unreadable_shot
from pipeline.camera.sources.pixel_formats import rgb_from_opencv
from pipeline.errors import CameraLost, UnreadableFrame

_LOOK_S = 0.2  # how often a silent camera is left to see whether to stop
_BACKLOG_PICTURES = 8


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`."""

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        """Whether the device is there."""
        ...

    def read(self) -> tuple[bool, NDArray[np.generic]]:
        """Wait for the next picture, BGR; False where none came."""
        ...

    def release(self) -> None:
        """Let the device go."""
        ...


def open_capture(address: str, timeout_s: float) -> Capture:
    """Open a device index or a stream's URL."""
    if address.isdecimal():
        return cv2.VideoCapture(int(address))
    limit_ms = max(1, round(timeout_s * 1000))
    return cv2.VideoCapture(
        address,
        cv2.CAP_FFMPEG,
        [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms],
    )


def public_address(address: str) -> str:
    """Give the address as messages may show it: without user and password."""
    if address.isdecimal():
        return f"camera {address}"
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()


class OpenCvSource:
    """Gives the pictures of a live camera as they come.

    A thread of its own reads, because a device that hangs never returns. When nobody takes the
    pictures in time, the oldest become unreadable shots: their parts still get a verdict.
    """

    live = True

    def __init__(
        self,
        address: str,
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        wait: Wait,
        timeout_s: float = 5.0,
        rate: float | None = None,
        open_device: Callable[[str, float], Capture] = open_capture,
    ) -> None:
        """Take an address; nothing is opened before the first shot.

        Args:
            address: a device index, or a URL.
            clock: monotonic seconds.
            clock_ns: UTC; a shot is captured when the device hands it over.
            wait: asked now and then; True ends the source.
            timeout_s: without a picture for so long the camera is lost.
            rate: at most so many pictures a second are parts, others are passed over.
            open_device: opens the address within about `timeout_s`.
        """
        self._address = address
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._timeout_s = timeout_s
        self._period_s = 0.0 if rate is None else 1 / rate
        self._open_device = open_device

    def shots(self, cursor: str) -> Iterator[Shot]:  # noqa: ARG002  # what has passed is gone
        """Open the camera and give its pictures.

        Raises:
            CameraLost: it does not open, ends, or gave no picture for `timeout_s`.
        """
        backlog = Backlog(_BACKLOG_PICTURES)
        stop = threading.Event()
        threading.Thread(
            target=self._read, args=(backlog, stop), name="camera-read", daemon=True
        ).start()
        try:
            yield from self._give(backlog)
        finally:
            stop.set()

    def _give(self, backlog: Backlog) -> Iterator[Shot]:
        heard_at = self._clock()
        while not self._wait(0):
            taken = backlog.take(_LOOK_S)
            if taken is not None:
                yield _shot(taken)
                heard_at = self._clock()
            elif self._clock() - heard_at >= self._timeout_s:
                raise CameraLost(
                    f"no picture from {public_address(self._address)} for {self._timeout_s:g} s"
                )

    def _read(self, backlog: Backlog, stop: threading.Event) -> None:
        """Own the device from opening to release, whatever the other thread does meanwhile."""
        name = public_address(self._address)
        try:
            capture = self._open_device(self._address, self._timeout_s)
        except cv2.error as error:
            backlog.end(f"{name} does not open: {error}")
            return
        try:
            if capture.isOpened():
                self._read_on(capture, backlog, stop)
                backlog.end(f"{name} gives no more pictures")
            else:
                backlog.end(f"{name} does not open")
        except (cv2.error, CameraLost) as error:
            backlog.end(f"{name} failed: {error}")
        finally:
            capture.release()

    def _read_on(self, capture: Capture, backlog: Backlog, stop: threading.Event) -> None:
        due = self._clock()
        while not stop.is_set():
            done, decoded = capture.read()
            if not done:
                return
            now = self._clock()
            if now >= due:
                due = max(due + self._period_s, now)
                backlog.put(CapturedPicture(decoded, self._clock_ns()))

    def close(self) -> None:
        """Nothing is held once `shots` has ended: its thread releases the device."""


def _shot(taken: CapturedPicture) -> Shot:
    if taken.decoded is None:
        return unreadable_shot("passed by: this machine did not keep up", taken.captured_ns)
    try:
        return Shot(rgb_from_opencv(taken.decoded), taken.captured_ns, "", "")
    except UnreadableFrame as error:
        return unreadable_shot(str(error), taken.captured_ns)
