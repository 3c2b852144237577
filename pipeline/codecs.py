"""Pixels <-> bytes: raw, JPEG, PNG. Every size is checked before a decoder sees the bytes."""

import struct
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.pictures.headers import (
    JPEG_START,
    PNG_SIGNATURE,
    check_jpeg,
    check_pixels,
    check_png,
)
from pipeline.errors import UnreadableFrame

if TYPE_CHECKING:  # few lines send JPEG
    from engines.pictures.jpeg import JpegSetting

MAX_PAYLOAD_BYTES = 256 << 20
_RGB8 = 2  # PNG colour type of RGB


class Codec(StrEnum):
    """How the pixels of a frame travel."""

    RAW = "raw"
    JPEG = "jpeg"
    PNG = "png"
    RING = "ring"  # in a shared-memory ring of this machine; the entry holds the place only
    NONE = "none"  # the camera has no picture of this part; the payload says why


Transport = Literal[Codec.RAW, Codec.JPEG, Codec.PNG, Codec.RING]  # what a camera can be told


def encode_pixels(
    pixels: NDArray[np.uint8], codec: Codec, jpeg: "JpegSetting | None" = None
) -> bytes:
    """Encode uint8 [H, W, 3] RGB; `jpeg` None loses what `DEFAULT_JPEG` says."""
    if codec is Codec.RAW:
        return pixels.tobytes()
    if codec is Codec.JPEG:
        from engines.pictures.jpeg import DEFAULT_JPEG, encode_jpeg  # noqa: PLC0415

        return encode_jpeg(pixels, jpeg or DEFAULT_JPEG)
    from engines.pictures.libraries import cv2  # noqa: PLC0415

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
    try:
        check_pixels(*shape)
    except PictureError as error:
        raise UnreadableFrame(str(error)) from error


def _decode_raw(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    wanted = shape[0] * shape[1] * 3
    if len(payload) != wanted:
        raise UnreadableFrame(
            f"raw payload of {len(payload)} bytes, {shape[0]}x{shape[1]}x3 needs {wanted}"
        )
    return np.frombuffer(payload, np.uint8).reshape(*shape, 3)


def _decode_jpeg(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if payload[:2] != JPEG_START:
        raise UnreadableFrame("payload announced as JPEG is none")
    from engines.pictures.jpeg import decode_jpeg  # noqa: PLC0415

    try:
        check_jpeg(payload, shape)
        pixels = decode_jpeg(payload)
    except (PictureError, ValueError, IndexError, struct.error) as error:
        raise UnreadableFrame(f"JPEG does not decode: {error}") from error
    if pixels.shape != (*shape, 3):
        raise UnreadableFrame("JPEG does not decode to the size that it announces: damaged")
    return pixels


def _decode_png(payload: bytes, shape: tuple[int, int]) -> NDArray[np.uint8]:
    if payload[:8] != PNG_SIGNATURE:
        raise UnreadableFrame("payload announced as PNG is none")
    try:
        header = check_png(payload, shape)
    except (PictureError, struct.error) as error:
        raise UnreadableFrame(f"PNG does not decode: {error}") from error
    if header.bits != 8 or header.colour != _RGB8:  # noqa: PLR2004
        raise UnreadableFrame(
            f"PNG of {header.bits} bits, colour type {header.colour}: send 8-bit RGB"
        )
    from engines.pictures.libraries import cv2  # noqa: PLC0415  # the base install has none

    decoded = cv2.imdecode(np.frombuffer(header.content, np.uint8), cv2.IMREAD_COLOR_RGB)
    if decoded is None or decoded.shape != (*shape, 3):
        raise UnreadableFrame("PNG does not decode: truncated or damaged")
    return np.asarray(decoded, np.uint8)
