import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.errors import PictureError
from engines.pictures.pixel_values import _log_scale
from engines.pictures.read import (
    MAX_PIXELS,
    decode_picture,
    describe_picture,
    read_picture,
    resize_picture,
)
from engines.pictures.rules import PictureRules


def encoded(pixels: np.ndarray, suffix: str) -> bytes:
    done, content = cv2.imencode(suffix, pixels)
    assert done
    return content.tobytes()


def smooth_bgr(rng: np.random.Generator, height: int = 37, width: int = 53) -> np.ndarray:
    noise = rng.integers(0, 256, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 3)


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tiff"])
def test_lossless_picture_comes_back_as_rgb(rng: np.random.Generator, suffix: str) -> None:
    bgr = smooth_bgr(rng)
    assert np.array_equal(decode_picture(encoded(bgr, suffix), "p"), bgr[:, :, ::-1])


def test_jpeg_comes_back_close_and_as_rgb(rng: np.random.Generator) -> None:
    bgr = smooth_bgr(rng)
    bgr[:, :, 0] //= 4
    pixels = decode_picture(encoded(bgr, ".jpg"), "p")
    assert np.abs(pixels.astype(int) - bgr[:, :, ::-1]).mean() < 3


def test_grey_picture_becomes_three_equal_channels(rng: np.random.Generator) -> None:
    grey = smooth_bgr(rng)[:, :, 0]
    pixels = decode_picture(encoded(grey, ".png"), "p")
    assert pixels.shape == (37, 53, 3)
    assert all(np.array_equal(pixels[:, :, channel], grey) for channel in range(3))


def test_opaque_alpha_is_dropped_and_transparent_refused(rng: np.random.Generator) -> None:
    bgra = np.dstack([smooth_bgr(rng), np.full((37, 53), 255, np.uint8)])
    assert decode_picture(encoded(bgra, ".png"), "p").shape == (37, 53, 3)
    bgra[3, 4, 3] = 254
    with pytest.raises(PictureError, match="transparent"):
        decode_picture(encoded(bgra, ".png"), "p")


def test_upper_8_of_16_bits_are_taken_for_all_pictures_alike(rng: np.random.Generator) -> None:
    deep = smooth_bgr(rng).astype(np.uint16) * 256 + 255
    deep[0, 0] = 65535
    pixels = decode_picture(encoded(deep, ".png"), "p")
    assert np.array_equal(pixels, (deep >> 8)[:, :, ::-1])


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_12_bits_kept_in_16_are_refused_with_what_to_do(
    rng: np.random.Generator, suffix: str
) -> None:
    shallow = smooth_bgr(rng)[..., 0].astype(np.uint16) * 16
    with pytest.raises(
        PictureError,
        match=r"fill 1[12] bits only; state how many its camera uses with --picture-bits 12",
    ):
        decode_picture(encoded(shallow, suffix), "p")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
def test_stated_bits_are_scaled_alike_in_every_picture(
    rng: np.random.Generator, bits: int, suffix: str
) -> None:
    rules = PictureRules(bits=bits)
    for highest in ((1 << bits) - 1, (1 << bits) // 3, 255):  # a dark picture stays dark
        values = rng.integers(0, highest + 1, (37, 53), np.uint16)
        values[0, 0] = highest
        decoded = describe_picture(encoded(values, suffix), "p", rules)
        assert np.array_equal(decoded.pixels[..., 1], values >> (bits - 8))
        assert decoded.bits == bits


def test_value_above_the_stated_bits_is_refused() -> None:
    deep = np.full((4, 4), 4096, np.uint16)
    with pytest.raises(PictureError, match="value 4096, above the 4095 of --picture-bits 12"):
        decode_picture(encoded(deep, ".png"), "p", PictureRules(bits=12))


def test_stated_bits_leave_8_bit_pictures_as_they_are(rng: np.random.Generator) -> None:
    content = encoded(smooth_bgr(rng), ".png")
    decoded = describe_picture(content, "p", PictureRules(bits=12))
    assert np.array_equal(decoded.pixels, decode_picture(content, "p"))
    assert decoded.bits == 8


def test_scale_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    _log_scale.cache_clear()
    deep = np.full((4, 4), 4000, np.uint16)
    with caplog.at_level("INFO"):
        for _ in range(2):
            decode_picture(encoded(deep, ".png"), "p", PictureRules(bits=12))
    (record,) = caplog.records
    assert (record.message, record.bits) == ("picture.scaled", 12)
    assert record.taken == "the upper 8 of 12 bits: value // 16"


def test_floating_point_picture_is_refused_as_what_it_is(rng: np.random.Generator) -> None:
    with pytest.raises(PictureError, match="32-bit floating-point picture: save it with 8 or 16"):
        decode_picture(encoded(smooth_bgr(rng).astype(np.float32), ".tiff"), "p")


def huge_png() -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + b"\0" * 12 + b"IEND\0\0\0\0"


def huge_bmp() -> bytes:
    return b"BM" + b"\0" * 12 + struct.pack("<Iii", 40, 30_000, -30_000) + b"\0" * 100


def huge_tiff() -> bytes:
    entries = struct.pack("<HHIIHHII", 256, 4, 1, 30_000, 257, 4, 1, 30_000)
    return b"II*\0" + struct.pack("<IH", 8, 2) + entries


@pytest.mark.parametrize("content", [huge_png(), huge_bmp(), huge_tiff()])
def test_announced_size_is_refused_before_decoding(content: bytes) -> None:
    with pytest.raises(PictureError, match=f"30000x30000, limit {MAX_PIXELS}"):
        decode_picture(content, "p")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tiff"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_truncated_picture_is_refused_by_name(
    rng: np.random.Generator, suffix: str, kept: float
) -> None:
    content = encoded(smooth_bgr(rng), suffix)
    with pytest.raises(PictureError, match="shelf/p"):
        decode_picture(content[: int(len(content) * kept)], "shelf/p")


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"BM", b"II*\0"]),
)
def test_foreign_bytes_are_refused(content: bytes, start: bytes) -> None:
    with pytest.raises(PictureError):
        decode_picture(start + content, "p")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PictureError, match=r"gone\.png"):
        read_picture(tmp_path / "gone.png")


@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_resized_flat_picture_stays_flat(before: tuple[int, int], after: tuple[int, int]) -> None:
    pixels = np.full((*before, 3), 77, np.uint8)
    resized = resize_picture(pixels, after)
    assert resized.shape == (*after, 3)
    assert (resized == 77).all()


def test_shrinking_averages_areas() -> None:
    stripes = np.zeros((8, 8, 3), np.uint8)
    stripes[:, ::2] = 200
    assert (resize_picture(stripes, (4, 4)) == 100).all()


def test_picture_of_the_right_size_is_not_touched(rng: np.random.Generator) -> None:
    pixels = smooth_bgr(rng)
    assert resize_picture(pixels, (37, 53)) is pixels
