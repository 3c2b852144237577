import struct
import zlib

import cv2
import numpy as np
import pytest
from inputs.bombs import (
    chunk,
    jpeg_of_scans,
    png,
    png_animated,
    png_announcing,
    png_with_texts,
)

from engines.errors import PictureError
from engines.pictures.headers import check_jpeg, check_picture, check_png
from engines.pictures.read import decode_picture

H, W = 48, 64


def jpeg(*flags: int) -> bytes:
    drawn = np.random.default_rng(1).integers(0, 256, (H, W, 3), np.uint8)
    done, encoded = cv2.imencode(".jpg", drawn, list(flags))
    assert done
    return encoded.tobytes()


@pytest.mark.parametrize("length", [1 << 20, 0x40000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0])
def test_png_chunk_that_is_longer_than_the_file_reaches_no_decoder(length: int) -> None:
    with pytest.raises(PictureError, match=f"announces {length} bytes"):
        check_png(png_announcing(length, H, W))


@pytest.mark.parametrize("name", [b"acTL", b"fcTL", b"fdAT"])
def test_animated_png_reaches_no_decoder(name: bytes) -> None:
    with pytest.raises(PictureError, match="animated"):
        check_picture(png(H, W, chunk(name, b"\0" * 8)))
    with pytest.raises(PictureError, match="animated"):
        check_picture(png_animated(2, H, W))


def test_png_decoder_sees_only_the_chunks_that_hold_pixels() -> None:
    content = png_with_texts(50, 100_000, H, W)
    assert check_png(content).content == png(H, W)
    turned = png(H, W, chunk(b"eXIf", b"MM\0*\0\0\0\x08\0\x01\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"))
    assert decode_picture(turned, "p").shape == (H, W, 3)


def test_png_is_cut_at_its_end() -> None:
    content = png(H, W)
    assert check_png(content + b"more").height == H


def test_png_with_more_pixels_than_its_size_needs_is_refused() -> None:
    with pytest.raises(PictureError, match="its size needs"):
        check_png(png(1, 1, pixels=chunk(b"IDAT", b"\0" * 100_000)))


def test_png_whose_few_bytes_cannot_hold_its_size_is_refused() -> None:
    with pytest.raises(PictureError, match="truncated"):
        check_png(png(8000, 8000, pixels=chunk(b"IDAT", zlib.compress(b"\0" * 1000))))


def test_large_black_png_is_no_bomb() -> None:
    assert check_png(png(500, 400)).width == 400


@pytest.mark.parametrize(
    "content",
    [
        png(H, W, chunk(b"IHDR", b"\0" * 13)),
        png(H, W, chunk(b"ABCD", b"")),
        png(H, W)[:8] + png(H, W)[33:],
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", W, H, 3, 2, 0, 0, 0)),
        png(H, W, pixels=chunk(b"IDAT", b"") * 70_000),
        png(0, W),
    ],
)
def test_damaged_png_is_refused(content: bytes) -> None:
    with pytest.raises(PictureError):
        check_picture(content)


@pytest.mark.parametrize(
    ("flags", "scans"),
    [
        ([], 1),
        ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], 10),
        ([cv2.IMWRITE_JPEG_RST_INTERVAL, 2], 1),
    ],
)
def test_jpeg_of_every_usual_kind_passes(flags: list[int], scans: int) -> None:
    header = check_jpeg(jpeg(*flags), (H, W))
    assert (header.height, header.width, header.components) == (H, W, 3)
    assert header.scans == scans


def test_jpeg_may_end_before_the_file_and_hold_fill_bytes() -> None:
    content = jpeg()
    assert check_jpeg(content[:2] + b"\xff" * 100 + content[2:] + b"\xff\xd8 a film").scans == 1


@pytest.mark.parametrize("scans", [16, 52_428])
def test_jpeg_of_many_scans_reaches_no_decoder(scans: int) -> None:
    with pytest.raises(PictureError, match="more than 16 scans"):
        check_jpeg(jpeg_of_scans(scans, H, W))


@pytest.mark.parametrize("code", [0xC3, 0xC5, 0xC9, 0xCA, 0xCF])
def test_jpeg_of_a_kind_that_is_not_read_reaches_no_decoder(code: int) -> None:
    content = bytearray(jpeg())
    content[content.index(b"\xff\xc0") + 1] = code
    with pytest.raises(PictureError, match="save it as baseline"):
        check_picture(bytes(content))


def doubled_frame() -> bytes:
    content = jpeg()
    at = content.index(b"\xff\xc0")
    return content[:at] + content[at : at + 19] * 2 + content[at + 19 :]


@pytest.mark.parametrize(
    "content",
    [
        doubled_frame(),
        b"\xff\xd8\xff\xd9",
        b"\xff\xd8" + b"\xff\xfe\0\2" * 5000 + jpeg()[2:],
        b"\xff\xd8" + b"\xff" * 5000,
        b"\xff\xd8" + jpeg()[jpeg().index(b"\xff\xda") :],
        b"\xff\xd8\xff\xd0" + jpeg()[2:],
        b"\xff\xd8x" + jpeg()[2:],
        jpeg()[:-2],
        jpeg().replace(struct.pack(">HH", H, W), struct.pack(">HH", 8000, 8000)),
        jpeg().replace(struct.pack(">HH", H, W), struct.pack(">HH", 0, W)),
    ],
)
def test_damaged_jpeg_is_refused(content: bytes) -> None:
    with pytest.raises(PictureError):
        check_picture(content)


def test_jpeg_of_four_colours_is_named() -> None:
    content = jpeg()
    at = content.index(b"\xff\xc0")
    with pytest.raises(PictureError, match="CMYK"):
        check_jpeg(content[: at + 9] + b"\4" + content[at + 10 :])


@pytest.mark.parametrize("start", [b"RIFF\0\0\0\0WEBP", b"GIF89a", b"\0\0\0\x0cjP  ", b"8BPS"])
def test_format_that_is_not_on_the_list_is_refused(start: bytes) -> None:
    with pytest.raises(PictureError, match="not a PNG, JPEG, BMP or TIFF"):
        check_picture(start + b"\0" * 100)


def bmp() -> bytes:
    done, encoded = cv2.imencode(".bmp", np.zeros((H, W, 3), np.uint8))
    assert done
    return encoded.tobytes()


def test_bmp_must_hold_all_of_its_rows_and_be_of_a_known_kind() -> None:
    content = bmp()
    assert check_picture(content).bounded
    for damaged in (
        content[:-1],
        content[:14] + struct.pack("<I", 12) + content[18:],
        content[:4] + b"ftyp" + content[8:],
        content[:28] + struct.pack("<H", 5) + content[30:],
    ):
        with pytest.raises(PictureError):
            check_picture(damaged)


def test_packed_bmp_and_tiff_are_left_to_a_decoder_under_limits() -> None:
    packed = bytearray(bmp())
    packed[30] = 1  # RLE8
    assert not check_picture(bytes(packed)).bounded
    tiff = cv2.imencode(".tiff", np.zeros((H, W, 3), np.uint8))[1].tobytes()
    assert not check_picture(tiff).bounded
