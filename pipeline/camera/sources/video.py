"""Frames of a video file. A cursor is the index of the frame."""

from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from engines.pictures import MAX_PIXELS
from pipeline.camera.pace import FramePacer
from pipeline.camera.source import Shot, unreadable_shot
from pipeline.errors import SettingsError

_UNSURE_FRAMES = 3  # by so many the announced length of a healthy file may be wrong
_UNSURE_SHARE = 0.02


class VideoSource:
    """Gives every frame of a video file, once."""

    live = False

    def __init__(self, path: Path, pacer: FramePacer, clock_ns: Callable[[], int]) -> None:
        """Open a video file.

        Args:
            path: anything that OpenCV's FFmpeg reads.
            pacer: when the next shot is due; the file's own rate plays no part.
            clock_ns: UTC; a shot is captured when it is due.

        Raises:
            SettingsError: no such file, no video, or its frames are too large.
        """
        if not path.is_file():
            raise SettingsError(f"no video file {path}")
        self._path = path
        self._pacer = pacer
        self._clock_ns = clock_ns
        self._open().release()

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path))
        if not capture.isOpened():
            raise SettingsError(
                f"{self._path} does not open as a video: truncated, or unknown kind"
            )
        height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        if not 1 <= height * width <= MAX_PIXELS:
            capture.release()
            raise SettingsError(
                f"{self._path} has frames of {height}x{width}, limit {MAX_PIXELS} pixels"
            )
        return capture

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Give every frame after `cursor`; one unreadable shot ends a file that was cut off.

        Raises:
            SettingsError: the cursor is not of a video, or the file changed into none.
        """
        index = _parse_cursor(cursor)
        capture = self._open()
        try:
            yield from self._frames(capture, index)
        finally:
            capture.release()

    def _frames(self, capture: cv2.VideoCapture, first: int) -> Iterator[Shot]:
        announced = capture.get(cv2.CAP_PROP_FRAME_COUNT)
        # Seeking is inexact in many containers: count instead.
        index = 0
        while index < first and capture.grab():
            index += 1
        while index >= first:
            if self._pacer.stopped():
                return
            captured_ns = self._clock_ns()
            done, decoded = capture.read()
            if not done:
                break
            pixels = np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
            yield Shot(pixels, captured_ns, "", str(index))
            index += 1
        missing = announced - index
        if index >= first and missing > max(_UNSURE_FRAMES, _UNSURE_SHARE * announced):
            reason = f"{self._path} ends after {index} of {announced:.0f} frames: cut off"
            yield unreadable_shot(reason, self._clock_ns(), "", str(int(announced)))

    def close(self) -> None:
        """Nothing is held between two calls of `shots`."""


def _parse_cursor(cursor: str) -> int:
    """Give the index of the first frame to give."""
    if cursor and not cursor.isdecimal():
        raise SettingsError(f"cursor {cursor!r:.80} is not of a video: give the camera a new name")
    return int(cursor) + 1 if cursor else 0
