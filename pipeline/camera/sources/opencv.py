"""A USB device by its index, or a stream by its URL, through OpenCV.

OpenCV conceals damage in a stream and stretches pictures of another size to the first one, so
streams are read with PyAV where it is installed.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.camera.sources.live import Capture, public_address
from pipeline.errors import CameraLost


class OpenCvCapture:
    """A `cv2.VideoCapture` whose errors are ours."""

    def __init__(self, capture: Capture) -> None:
        self._capture = capture

    def isOpened(self) -> bool:  # noqa: N802  # OpenCV's name
        """Return whether the device is there."""
        return self._capture.isOpened()

    def read(self) -> tuple[bool, NDArray[np.generic]]:
        """Wait for the next picture, grey, BGR or BGRA; False where none came.

        Raises:
            CameraLost: the driver failed.
        """
        try:
            done, decoded = self._capture.read()
        except cv2.error as error:
            raise CameraLost(str(error)) from error
        return done, decoded

    def release(self) -> None:
        """Release the device."""
        self._capture.release()


def open_opencv(address: str, timeout_s: float, open_device: Any = None) -> OpenCvCapture:  # noqa: ANN401  # OpenCV has no types
    """Open a device index or a stream's URL within about `timeout_s`.

    Raises:
        CameraLost: OpenCV fails.
    """
    open_device = open_device or cv2.VideoCapture
    limit_ms = max(1, round(timeout_s * 1000))
    limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, limit_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, limit_ms]
    try:
        if address.isdecimal():
            return OpenCvCapture(open_device(int(address)))
        return OpenCvCapture(open_device(address, cv2.CAP_FFMPEG, limits))
    except cv2.error as error:
        raise CameraLost(f"{public_address(address)} does not open: {error}") from error
