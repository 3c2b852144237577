"""What cameras send -> uint8 RGB, by the name of the pixel format (GenICam's PFNC)."""

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.pictures.read import MAX_PIXELS
from pipeline.errors import UnreadableFrame

# Channels, and OpenCV's conversion. The alpha of a camera carries nothing and is dropped.
_CONVERSIONS: dict[str, tuple[int, int | None]] = {
    "Mono8": (1, cv2.COLOR_GRAY2RGB),
    "RGB8": (3, None),
    "BGR8": (3, cv2.COLOR_BGR2RGB),
    "RGBa8": (4, cv2.COLOR_RGBA2RGB),
    "BGRa8": (4, cv2.COLOR_BGRA2RGB),
    "BayerRG8": (1, cv2.COLOR_BayerRGGB2RGB),
    "BayerGR8": (1, cv2.COLOR_BayerGRBG2RGB),
    "BayerGB8": (1, cv2.COLOR_BayerGBRG2RGB),
    "BayerBG8": (1, cv2.COLOR_BayerBGGR2RGB),
}
PIXEL_FORMATS = tuple(_CONVERSIONS)
_BY_CHANNELS = {1: "Mono8", 3: "BGR8", 4: "BGRa8"}


def rgb_from_camera(
    sent: NDArray[np.generic], pixel_format: str, shape: tuple[int, int], line_padding: int = 0
) -> NDArray[np.uint8]:
    """Turn a camera's buffer into uint8 [H, W, 3] RGB of its own memory.

    Args:
        sent: H * W * channels values, in any shape, or as many lines with padding after each.
        pixel_format: one of PIXEL_FORMATS.
        shape: (height, width).
        line_padding: bytes after each line that carry nothing; whoever sends may have cut them off.

    Raises:
        UnreadableFrame: not 8 bits a channel, another size than the format's, or too large.
    """
    height, width = shape
    if height * width > MAX_PIXELS:
        raise UnreadableFrame(f"picture of {height}x{width}, limit {MAX_PIXELS} pixels")
    if sent.dtype != np.uint8:
        bits = 8 * sent.dtype.itemsize
        raise UnreadableFrame(f"{bits} bits a channel: set the camera to 8")
    channels, conversion = _CONVERSIONS[pixel_format]
    if line_padding and sent.size == height * (width * channels + line_padding):
        sent = sent.reshape(height, -1)[:, : width * channels]
    if sent.size != height * width * channels:
        raise UnreadableFrame(
            f"{pixel_format} picture of {height}x{width} has {sent.size} bytes instead of "
            f"{height * width * channels}: incomplete"
        )
    pixels = np.asarray(sent, np.uint8).reshape((height, width, channels)[: 2 + (channels > 1)])
    if conversion is None:
        return pixels.copy()
    return np.asarray(cv2.cvtColor(pixels, conversion), np.uint8)


def rgb_from_opencv(decoded: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Turn what OpenCV decoded (grey, BGR or BGRA, [H, W] or [H, W, C]) into uint8 RGB.

    Raises:
        UnreadableFrame: not 8 bits a channel, or another number of channels.
    """
    channels = 1 if decoded.ndim == 2 else decoded.shape[2]  # noqa: PLR2004
    if channels not in _BY_CHANNELS:
        raise UnreadableFrame(f"picture of {channels} channels: set the camera to grey or RGB")
    return rgb_from_camera(decoded, _BY_CHANNELS[channels], (decoded.shape[0], decoded.shape[1]))
