"""Pixels <-> bytes: raw, JPEG, PNG. Every size is checked before a decoder sees the bytes."""

import struct
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from pipeline.errors import UnreadableFrame

MAX_PIXELS = 64 << 20  # 64 megapixels: 192 MiB of RGB
MAX_PAYLOAD_BYTES = 256 << 20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_HEADER_BYTES = 26
_JPEG_START = b"\xff\xd8"
_RGB8 = 2  # PNG colour type of RGB


class Codec(StrEnum):
    """How the pixels of a frame travel."""

    RAW = "raw"
    JPEG = "jpeg"
    PNG = "png"
    RING = "ring"  # in a shared-memory ring of this machine; the entry holds the place only
    NONE = "none"  # the camera has no picture of this part; the payload says why


Transport = Literal[Codec.RAW, Codec.JPEG, Codec.PNG, Codec.RING]  # what a camera can be told


class Chroma(StrEnum):
    """How much of the colour a JPEG keeps."""

    FULL = "444"
    HALF = "420"  # half the resolution both ways; brightness keeps all of it


@dataclass(frozen=True, slots=True)
class JpegSetting:
    """What a JPEG may lose; the defaults cost no figure (docs/experiments.md) and half the time."""

    quality: int = 90  # 1..100, the scale of libjpeg
    chroma: Chroma = Chroma.HALF


DEFAULT_JPEG = JpegSetting()


def encode_pixels(
    pixels: NDArray[np.uint8], codec: Codec, jpeg: JpegSetting = DEFAULT_JPEG
) -> bytes:
    """Encode uint8 [H, W, 3] RGB."""
    if codec is Codec.RAW:
        return pixels.tobytes()
    if codec is Codec.JPEG:
        return bytes(
            simplejpeg.encode_jpeg(
                np.ascontiguousarray(pixels),
                jpeg.quality,
                "RGB",
                colorsubsampling=jpeg.chroma.value,
            )
        )
    if codec is Codec.PNG:
        done, encoded = cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
        if not done:
            raise UnreadableFrame(f"PNG encoder refused pixels of shape {list(pixels.shape)}")
        return encoded.tobytes()
    raise ValueError(f"{codec} frames carry no encoded pixels")


def decode_pixels(payload: bytes, codec: Codec, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Decode into uint8 [H, W, 3] RGB of exactly `shape` (height, width).

    Raises:
        UnreadableFrame: another size than announced, not RGB of 8 bits, truncated, or too large.
    """
    check_shape(shape)
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise UnreadableFrame(f"payload of {len(payload)} bytes, limit {MAX_PAYLOAD_BYTES}")
    if codec is Codec.RAW:
        return _decode_raw(payload, shape)
    if codec is Codec.JPEG:
        return _decode_jpeg(payload, shape)
    if codec is Codec.PNG:
        return _decode_png(payload, shape)
    if codec is Codec.NONE:
        raise UnreadableFrame(f"no picture: {payload[:1000].decode('utf-8', 'replace')}")
    raise UnreadableFrame("a ring frame carries no payload: read it from its ring")


def check_shape(shape: tuple[int, int]) -> None:
    """Refuse a picture that no memory should be asked for."""
    height, width = shape
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise UnreadableFrame(f"picture of {height}x{width}, limit {MAX_PIXELS} pixels")


def _check_size(got: tuple[int, int], announced: tuple[int, int], kind: str) -> None:
    if got != announced:
        raise UnreadableFrame(
            f"{kind} of {got[0]}x{got[1]}, announced as {announced[0]}x{announced[1]}"
        )


def _decode_raw(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    wanted = shape[0] * shape[1] * 3
    if len(payload) != wanted:
        raise UnreadableFrame(
            f"raw payload of {len(payload)} bytes, {shape[0]}x{shape[1]}x3 needs {wanted}"
        )
    return np.frombuffer(payload, np.uint8).reshape(*shape, 3)


def _decode_jpeg(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if payload[:2] != _JPEG_START:
        raise UnreadableFrame("payload announced as JPEG is none")
    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(payload)
        _check_size((height, width), shape, "JPEG")
        if colorspace in {"CMYK", "YCCK"}:
            raise UnreadableFrame(f"JPEG with {colorspace} colours: send RGB or grey")
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(payload, "RGB")
    except ValueError as error:
        raise UnreadableFrame(f"JPEG does not decode: {error}") from error
    return pixels


def _decode_png(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if payload[:8] != _PNG_SIGNATURE or len(payload) < _PNG_HEADER_BYTES:
        raise UnreadableFrame("payload announced as PNG is none")
    width, height, depth, colour = struct.unpack(">IIBB", payload[16:26])
    _check_size((height, width), shape, "PNG")
    if depth != 8 or colour != _RGB8:  # noqa: PLR2004
        raise UnreadableFrame(f"PNG of {depth} bits, colour type {colour}: send 8-bit RGB")
    decoded = cv2.imdecode(np.frombuffer(payload, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None or decoded.shape != (*shape, 3):
        raise UnreadableFrame("PNG does not decode: truncated or damaged")
    return np.asarray(decoded, np.uint8)
