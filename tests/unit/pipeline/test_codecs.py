import struct

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from inputs.bombs import stream_bombs

from engines.pictures.jpeg import Chroma, JpegSetting
from pipeline.codecs import Codec, decode_pixels, encode_pixels
from pipeline.errors import UnreadableFrame

pictures = arrays(np.uint8, st.tuples(st.integers(1, 33), st.integers(1, 33), st.just(3)))


@given(pictures, st.sampled_from([Codec.RAW, Codec.PNG]))
def test_pixels_survive_lossless_codecs(pixels: np.ndarray, codec: Codec) -> None:
    shape = pixels.shape[:2]
    assert np.array_equal(decode_pixels(encode_pixels(pixels, codec), codec, shape), pixels)


@pytest.mark.parametrize(("chroma", "least"), [(Chroma.FULL, 170), (Chroma.HALF, 60)])
def test_jpeg_keeps_a_thin_red_line_red(
    rng: np.random.Generator, chroma: Chroma, least: int
) -> None:
    pixels = rng.integers(100, 120, (64, 64, 3), dtype=np.uint8)
    pixels[31] = (220, 30, 30)
    payload = encode_pixels(pixels, Codec.JPEG, JpegSetting(chroma=chroma))
    line = decode_pixels(payload, Codec.JPEG, (64, 64))[31].astype(int)
    assert np.all(line[:, 0] - line[:, 1] > least)  # 190 as drawn


@given(st.binary(max_size=200), st.sampled_from([Codec.RAW, Codec.JPEG, Codec.PNG]))
def test_foreign_payload_is_refused(payload: bytes, codec: Codec) -> None:
    with pytest.raises(UnreadableFrame):
        decode_pixels(payload, codec, (64, 64))


@given(st.sampled_from([Codec.RAW, Codec.JPEG, Codec.PNG]), st.integers(0, 10**6))
def test_truncated_payload_is_refused(codec: Codec, cut: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    payload = encode_pixels(pixels, codec)
    with pytest.raises(UnreadableFrame):
        decode_pixels(payload[: cut % len(payload)], codec, (24, 20))


def test_another_size_than_announced_is_refused_before_decoding() -> None:
    header = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">IIBB", 30000, 30000, 8, 2)
    with pytest.raises(UnreadableFrame, match="30000x30000, announced as 8x8"):
        decode_pixels(header, Codec.PNG, (8, 8))


def test_16_bit_and_grey_and_transparent_png_are_refused_by_name() -> None:
    for pixels, said in (
        (np.zeros((8, 8, 3), np.uint16), "16 bits"),
        (np.zeros((8, 8), np.uint8), "colour type 0"),
        (np.zeros((8, 8, 4), np.uint8), "colour type 6"),
    ):
        payload = cv2.imencode(".png", pixels)[1].tobytes()
        with pytest.raises(UnreadableFrame, match=said):
            decode_pixels(payload, Codec.PNG, (8, 8))


def test_grey_jpeg_is_read_as_rgb() -> None:
    grey = np.full((8, 8, 1), 77, np.uint8)
    payload = simplejpeg.encode_jpeg(grey, colorspace="GRAY")
    assert np.abs(decode_pixels(payload, Codec.JPEG, (8, 8)).astype(int) - 77).max() <= 1


def test_missing_picture_says_why() -> None:
    with pytest.raises(UnreadableFrame, match="no picture: file vanished"):
        decode_pixels(b"file vanished", Codec.NONE, (8, 8))


@pytest.mark.parametrize(
    ("name", "codec", "payload"), [(n, *b) for n, b in stream_bombs(64, 64).items()]
)
def test_bomb_reaches_no_decoder(name: str, codec: str, payload: bytes) -> None:
    del name
    with pytest.raises(UnreadableFrame, match=r"announces|animated|more than 16 scans"):
        decode_pixels(payload, Codec(codec), (64, 64))
