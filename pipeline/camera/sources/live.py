"""Live cameras that a thread of its own reads: USB devices and network streams."""

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from pipeline.camera.backlog import Backlog, CapturedPicture
from pipeline.camera.pace import Wait
from pipeline.camera.source import FixedSize, Shot, unreadable_shot
from pipeline.errors import CameraLost, UnreadableFrame

_LOOK_S = 0.2  # how often a silent camera is left to see whether to stop
_BACKLOG_PICTURES = 8
_END_WAIT_S = 2.0  # at the end, beyond the time after which a silent camera is lost
_THREAD = "camera-read"
_log = logging.getLogger(__name__)


class Capture(Protocol):
    """What is used of `cv2.VideoCapture`; the decoder of streams has the same methods."""

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        """Return whether the device is there."""
        ...

    def read(self) -> tuple[bool, Any]:
        """Wait for the next picture, undecoded or BGR; False where none came."""
        ...

    def release(self) -> None:
        """Release the device."""
        ...


class LiveSource:
    """Supplies the pictures of a live camera as they come.

    A thread of its own reads, because a device that hangs never returns. When nobody takes the
    pictures in time, the oldest become unreadable shots: their parts still get a verdict.
    """

    live = True

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], Capture],
        to_rgb: Callable[[Any], NDArray[np.uint8]],
        clock: Callable[[], float],
        clock_ns: Callable[[], int],
        wait: Wait,
        timeout_s: float = 5.0,
        rate: float | None = None,
    ) -> None:
        """Make a source; nothing is opened before the first shot.

        Args:
            name: the camera in messages, without a password.
            open_capture: opens the device within about `timeout_s`, or raises CameraLost.
            to_rgb: makes RGB of what the capture read, or raises UnreadableFrame.
            clock: monotonic seconds.
            clock_ns: UTC; a shot is captured when the device hands it over.
            wait: asked now and then; True ends the source.
            timeout_s: without a picture for so long the camera is lost.
            rate: at most so many pictures a second are parts, others are passed over.
        """
        self._name = name
        self._open_capture = open_capture
        self._to_rgb = to_rgb
        self._clock = clock
        self._clock_ns = clock_ns
        self._wait = wait
        self._timeout_s = timeout_s
        self._period_s = 0.0 if rate is None else 1 / rate
        self._size = FixedSize(name)
        self._readers: list[tuple[threading.Thread, threading.Event]] = []

    def shots(self, cursor: str) -> Iterator[Shot]:  # noqa: ARG002  # what has passed is gone
        """Open the camera and supply its pictures.

        Raises:
            CameraLost: it does not open, ends, or gave no picture for `timeout_s`.
        """
        backlog = Backlog(_BACKLOG_PICTURES)
        stop = threading.Event()
        # a daemon, or a device that hangs would keep the process for ever
        reader = threading.Thread(
            target=self._read, args=(backlog, stop), name=_THREAD, daemon=True
        )
        self._readers = [kept for kept in self._readers if kept[0].is_alive()]
        self._readers.append((reader, stop))
        reader.start()
        try:
            yield from self._take(backlog)
        finally:
            stop.set()

    def _take(self, backlog: Backlog) -> Iterator[Shot]:
        heard_at = self._clock()
        while not self._wait(0):
            captured = backlog.take(_LOOK_S)
            if captured is not None:
                yield self._size.check(self._shot(captured))
                heard_at = self._clock()
            elif self._clock() - heard_at >= self._timeout_s:
                raise CameraLost(f"no picture from {self._name} for {self._timeout_s:g} s")

    def _shot(self, captured: CapturedPicture) -> Shot:
        at_ns, at_s = captured.captured_ns, captured.captured_s
        if captured.decoded is None:
            why = "passed by: this machine did not keep up"
            return unreadable_shot(why, at_ns, captured_s=at_s)
        try:
            return Shot(self._to_rgb(captured.decoded), at_ns, "", "", captured_s=at_s)
        except UnreadableFrame as error:
            return unreadable_shot(str(error), at_ns, captured_s=at_s)

    def _read(self, backlog: Backlog, stop: threading.Event) -> None:
        """Own the device from opening to release, whatever the other thread does meanwhile."""
        try:
            capture = self._open_capture()
        except CameraLost as error:
            backlog.end(str(error))
            return
        try:
            if capture.isOpened():
                self._read_on(capture, backlog, stop)
                backlog.end(f"{self._name} gives no more pictures")
            else:
                backlog.end(f"{self._name} does not open")
        except CameraLost as error:
            backlog.end(f"{self._name} failed: {error}")
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
        """Wait until the device is released; a device that hangs is left behind, and logged."""
        for _, stop in self._readers:
            stop.set()
        for reader, _ in self._readers:
            reader.join(self._timeout_s + _END_WAIT_S)
        if any(reader.is_alive() for reader, _ in self._readers):
            why = "the device does not return from a read: the process ends without releasing it"
            _log.warning("camera.hangs", extra={"camera": self._name, "why": why})


@contextmanager
def hung_readers_left_behind() -> Iterator[None]:
    """End the process at once with the right status when a reader still hangs in its library.

    A thread that returns into an interpreter that has ended is ended by force, and a C++ library
    takes that for a crash: the process would abort.
    """
    try:
        yield
    except SystemExit as ending:
        if any(thread.name == _THREAD for thread in threading.enumerate()):
            if isinstance(ending.code, str):
                sys.stderr.write(f"{ending.code}\n")
            status = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
            logging.shutdown()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            os._exit(status)
        raise


def public_address(address: str) -> str:
    """Return the address as messages may show it: without user, password and query."""
    if address.isdecimal():
        return f"camera {address}"
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
