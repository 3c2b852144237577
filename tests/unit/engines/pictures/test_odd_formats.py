"""Files that other programs write: read to the pixel, or refused by the right reason.

Pillow and tifffile write most of them; headers that neither writes are built by the specification.
"""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from engines.errors import PictureError
from engines.pictures.read import MAX_PIXELS, decode_picture, read_picture

RGB = np.random.default_rng(5).integers(0, 256, (20, 33, 3), np.uint8)
_RGB_MASKS = (0x00FF0000, 0x0000FF00, 0x000000FF)


def saved(form: str, pixels: np.ndarray = RGB, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, form, **options)
    return file.getvalue()


def tiff(values: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)
    return file.getvalue()


def bmp_32(compression: int, fourth: int, alpha_mask: int | None = None) -> bytes:
    """A BMP of 32 bits: BI_RGB (0) or BI_BITFIELDS (3), its header as long as its masks need."""
    height, width = RGB.shape[:2]
    header_bytes = 40 if alpha_mask is None else 108
    masks = b"" if compression == 0 and alpha_mask is None else struct.pack("<3I", *_RGB_MASKS)
    if alpha_mask is not None:
        masks += struct.pack("<I", alpha_mask)
        masks += b"BGRs" + b"\0" * (header_bytes - 40 - len(masks) - 4)
    fields = (header_bytes, width, -height, 1, 32, compression, 0, 2835, 2835, 0, 0)
    rows = np.dstack([RGB[..., ::-1], np.full(RGB.shape[:2], fourth, np.uint8)]).tobytes()
    offset = 14 + 40 + len(masks)
    start = struct.pack("<2sIHHI", b"BM", offset + len(rows), 0, 0, offset)
    return start + struct.pack("<IiiHHIIiiII", *fields) + masks + rows


@pytest.mark.parametrize("compression", [0, 3])
def test_bmp_whose_fourth_byte_is_padding_is_rgb(compression: int) -> None:
    content = bmp_32(compression, fourth=0)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content)).convert("RGB")), RGB)
    assert np.array_equal(decode_picture(content, "p"), RGB)


def test_bmp_with_an_alpha_mask_is_opaque_or_refused() -> None:
    assert np.array_equal(decode_picture(bmp_32(3, 255, 0xFF000000), "p"), RGB)
    with pytest.raises(PictureError, match="partly transparent picture"):
        decode_picture(bmp_32(3, 120, 0xFF000000), "p")


def os2_bmp() -> bytes:
    """The header of OS/2 1.x: 12 bytes, its sizes have 16 bits."""
    height, width = RGB.shape[:2]
    rows = b"".join(
        row.tobytes().ljust(-(-3 * width // 4) * 4, b"\0") for row in RGB[::-1, :, ::-1]
    )
    header = struct.pack("<IHHHH", 12, width, height, 1, 24)
    return struct.pack("<2sIHHI", b"BM", 26 + len(rows), 0, 0, 26) + header + rows


def test_bmp_of_os2_is_refused_as_what_it_is() -> None:
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(os2_bmp()))), RGB)  # it is a BMP
    with pytest.raises(PictureError, match="BMP of an old kind, as OS/2 wrote it: save it again"):
        decode_picture(os2_bmp(), "p")


def test_bigtiff_is_refused_as_what_it_is() -> None:
    with pytest.raises(PictureError, match="not a PNG, JPEG, BMP or TIFF picture but BigTIFF"):
        decode_picture(tiff(RGB, bigtiff=True), "p")


def test_bytes_after_the_end_of_a_png_are_ignored() -> None:
    content = saved("PNG") + b"a camera's own data" * 11
    assert len(content) > len(saved("PNG")) + 200
    assert np.array_equal(decode_picture(content, "p"), RGB)


@pytest.mark.parametrize("values", [RGB, RGB[..., 0]], ids=["rgb", "grey"])
def test_tiff_in_small_tiles_is_refused_as_such(values: np.ndarray) -> None:
    content = tiff(values, tile=(16, 16), photometric="rgb" if values.ndim == 3 else "minisblack")
    with pytest.raises(
        PictureError, match="TIFF in tiles that cannot be read: save it without tile"
    ):
        decode_picture(content, "p")


@pytest.mark.parametrize("side", [32, 256])
def test_tiff_in_larger_tiles_is_read(side: int) -> None:
    content = tiff(RGB, tile=(side, side), photometric="rgb")
    assert np.array_equal(decode_picture(content, "p"), RGB)


def test_fourth_channel_of_a_tiff_that_is_no_alpha_is_dropped() -> None:
    padded = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    content = tiff(padded, photometric="rgb", extrasamples=["unspecified"])
    assert np.array_equal(decode_picture(content, "p"), RGB)
    alpha = tiff(padded, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(PictureError, match="partly transparent picture"):
        decode_picture(alpha, "p")


@pytest.mark.parametrize(("kind", "bits"), [(np.int8, 8), (np.int16, 16), (np.int32, 32)])
def test_signed_tiff_is_refused_as_what_it_is(kind: type, bits: int) -> None:
    with pytest.raises(PictureError, match=f"{bits}-bit signed picture: save it with 8 or 16 bits"):
        decode_picture(tiff(RGB[..., 0].astype(kind)), "p")


def test_picture_that_is_too_large_is_refused_by_its_size(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    Image.fromarray(np.zeros((9000, 9000), np.uint8)).save(path)
    with pytest.raises(PictureError, match=rf"huge\.png: picture of 9000x9000, limit {MAX_PIXELS}"):
        read_picture(path)
