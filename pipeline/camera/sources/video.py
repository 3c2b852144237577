"""Frames of a video file. A cursor is the index of the frame."""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.pictures.read import MAX_PIXELS
from pipeline.camera.pace import FramePacer
from pipeline.camera.source import FixedSize, Shot, unreadable_shot
from pipeline.camera.sources.pixel_formats import rgb_from_opencv
from pipeline.camera.sources.stream import StreamDecoder, StreamPicture, rgb_from_stream
from pipeline.errors import CameraLost, SettingsError, UnreadableFrame

_UNSURE_FRAMES = 3  # by so many the announced length of a healthy file may be wrong
_UNSURE_SHARE = 0.02


class VideoReader(Protocol):
    """What reads a video file: PyAV, or OpenCV where that is not installed."""

    def pictures(self) -> Iterator[StreamPicture]:
        """Decode picture by picture."""
        ...

    def cut_off(self, pictures: int) -> str:
        """Return why a file that gave so many pictures is not whole, or ""."""
        ...

    def close(self) -> None:
        """Close the file."""
        ...


class OpenCvReader:
    """A video file through OpenCV, which conceals damage."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            CameraLost: it does not open, or its frames are too large.
        """
        self._path = path
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise CameraLost(f"{path} does not open as a video: truncated, or unknown kind")
        height = int(self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
        width = int(self._capture.get(cv2.CAP_PROP_FRAME_WIDTH))
        if not 1 <= height * width <= MAX_PIXELS:
            self._capture.release()
            raise CameraLost(f"{path} has frames of {height}x{width}, limit {MAX_PIXELS} pixels")

    def pictures(self) -> Iterator[StreamPicture]:
        """Decode picture by picture, into the form of OpenCV."""
        while True:
            done, decoded = self._capture.read()
            if not done:
                return
            yield StreamPicture(decoded)

    def cut_off(self, pictures: int) -> str:
        """Return why an AVI file is not whole; the lengths of others are estimates here."""
        announced = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        unsure = max(_UNSURE_FRAMES, _UNSURE_SHARE * announced)
        if self._path.suffix.lower() == ".avi" and announced - pictures > unsure:
            return f"{self._path} ends after {pictures} of {announced:.0f} frames: cut off"
        return ""

    def close(self) -> None:
        """Close the file."""
        self._capture.release()


class VideoSource:
    """Supplies every frame of a video file, once."""

    live = False

    def __init__(
        self,
        path: Path,
        pacer: FramePacer,
        clock_ns: Callable[[], int],
        library: ModuleType | None = None,
    ) -> None:
        """Open a video file.

        Args:
            path: anything that FFmpeg reads.
            pacer: when the next shot is due; the file's own rate plays no part.
            clock_ns: UTC; a shot is captured when it is due.
            library: PyAV; None reads with OpenCV.

        Raises:
            SettingsError: no such file, no video, or its frames are too large.
        """
        if not path.is_file():
            raise SettingsError(f"no video file {path}")
        self._path = path
        self._pacer = pacer
        self._clock_ns = clock_ns
        self._library = library
        self._open().close()

    def _open(self) -> VideoReader:
        try:
            if self._library is None:
                return OpenCvReader(self._path)
            return StreamDecoder(self._library, str(self._path), str(self._path))
        except CameraLost as error:
            raise SettingsError(str(error)) from error

    def shots(self, cursor: str) -> Iterator[Shot]:
        """Supply every frame after `cursor`; one unreadable shot ends a file that was cut off.

        Raises:
            SettingsError: the cursor is not of a video, or the file changed into none.
        """
        index = _parse_cursor(cursor)
        reader = self._open()
        try:
            yield from self._shots(reader, index)
        finally:
            reader.close()

    def _shots(self, reader: VideoReader, first: int) -> Iterator[Shot]:
        size, index, torn = FixedSize(str(self._path)), 0, ""
        pictures = _until_broken(reader)
        # Seeking is inexact in many containers: count instead.
        for _ in range(first):
            index += next(pictures, None) is not None
        while index >= first:
            if self._pacer.stopped():
                return
            captured_ns, captured_s = self._clock_ns(), time.monotonic()
            picture = next(pictures, None)
            if torn:  # the last one of a file that is cut off is said with the end
                if picture is None and reader.cut_off(index - 1):
                    index -= 1
                    break
                yield unreadable_shot(torn, captured_ns, "", str(index - 1), captured_s=captured_s)
                torn = ""
            if picture is None:
                break
            index += 1
            try:
                shot = Shot(_rgb(picture), captured_ns, "", str(index - 1), captured_s=captured_s)
            except UnreadableFrame as error:
                torn = str(error)
                continue
            yield size.check(shot)
        if index >= first and (reason := reader.cut_off(index)):
            yield unreadable_shot(reason, self._clock_ns(), "", str(index))

    def close(self) -> None:
        """Nothing is held between two calls of `shots`."""


def _until_broken(reader: VideoReader) -> Iterator[StreamPicture]:
    """Supply the pictures up to the end of the file, whole or not."""
    with suppress(CameraLost):  # what lacks is said by `cut_off`
        yield from reader.pictures()


def _rgb(picture: StreamPicture) -> NDArray[np.uint8]:
    if isinstance(picture.content, np.ndarray):
        return rgb_from_opencv(picture.content)
    return rgb_from_stream(picture)


def _parse_cursor(cursor: str) -> int:
    """Return the index of the first frame to supply."""
    if cursor and not cursor.isdecimal():
        raise SettingsError(f"cursor {cursor!r:.80} is not of a video: give the camera a new name")
    return int(cursor) + 1 if cursor else 0
