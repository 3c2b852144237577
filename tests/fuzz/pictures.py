"""Damaged pictures: decoded whole or refused in one sentence, within a gigabyte of memory."""

import sys

import cv2
import numpy as np
from inputs.bombs import jpeg_of_scans, png_animated, png_announcing, png_with_texts
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.machine import peak_memory_mb
from engines.pictures.read import decode_picture
from fuzz.mutation import run_target
from pipeline.codecs import Codec, decode_pixels
from pipeline.errors import UnreadableFrame

SIZE = (24, 32)
MOST_MB = 1024
WORDS = [
    *(b"IHDR", b"IDAT", b"IEND", b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iCCP"),
    *(b"\xff\xc0", b"\xff\xc1", b"\xff\xc2", b"\xff\xc3", b"\xff\xc9", b"\xff\xda", b"\xff\xd9"),
    *(b"\xff\xd0", b"\xff\xdd\0\4\0\1", b"\xff\xc4\0\3\0", b"\xff\xdb\0\3\0", b"\xff\xee"),
    *(b"BM", b"II*\0", b"MM\0*", b"\1\1\4\0\1\0\0\0", b"\x42\1\4\0\1\0\0\0", b"RIFF", b"ftypavif"),
]


def corpus() -> list[bytes]:
    """Pictures of every format that is read, sound ones and bombs."""
    rng = np.random.default_rng(1)
    rgb = rng.integers(0, 256, (*SIZE, 3), np.uint8)
    kinds = [
        (".png", rgb, []),
        (".png", rgb[..., 0], []),
        (".png", np.dstack([rgb, rgb[..., 0] | 255]), []),
        (".jpg", rgb, []),
        (".jpg", rgb[..., 0], []),
        (".jpg", rgb, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1]),
        (".jpg", rgb, [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]),
        (".bmp", rgb, []),
        (".bmp", rgb[..., 0], []),
        *((".tiff", rgb, [cv2.IMWRITE_TIFF_COMPRESSION, kind]) for kind in (1, 5, 32773)),
    ]
    drawn = [encoded(suffix, pixels, flags) for suffix, pixels, flags in kinds]
    return [
        *drawn,
        png_announcing(0x7FFFFFFF, *SIZE),
        png_animated(9, *SIZE),
        png_with_texts(3, 1_000_000, *SIZE),
        jpeg_of_scans(4, *SIZE),
        jpeg_of_scans(2000, *SIZE),
    ]


def encoded(suffix: str, pixels: NDArray[np.uint8], flags: list[int]) -> bytes:
    """Encode a picture, its channels in whatever order."""
    done, content = cv2.imencode(suffix, pixels, flags)
    assert done, (suffix, flags)
    return content.tobytes()


def check(content: bytes) -> None:
    """Read the content as a file and as the payload of a frame."""
    try:
        pixels = decode_picture(content, "fuzzed")
    except PictureError as error:
        check_sentence(str(error))
    else:
        assert pixels.dtype == np.uint8
        assert pixels.shape[2] == 3
    for codec in (Codec.PNG, Codec.JPEG):
        try:
            frame = decode_pixels(content, codec, SIZE)
        except UnreadableFrame as error:
            check_sentence(str(error))
        else:
            assert frame.shape == (*SIZE, 3)
    assert peak_memory_mb() < MOST_MB, f"{peak_memory_mb():.0f} MB at the peak"


def check_sentence(sentence: str) -> None:
    """A refusal is shown to a person."""
    assert len(sentence) < 1000


if __name__ == "__main__":
    sys.exit(run_target(check, corpus(), WORDS, __doc__))
