"""JPEG by simplejpeg and by OpenCV: the same pixels, and the lesser one says that it is one."""

import os
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.pictures.jpeg import (
    Chroma,
    JpegSetting,
    decode_by_opencv,
    decode_jpeg,
    encode_by_opencv,
    encode_jpeg,
)

WITHOUT = """
import logging, sys
sys.modules["simplejpeg"] = None
logging.basicConfig(format="%(levelname)s %(message)s", stream=sys.stdout)
import numpy as np
from pipeline.codecs import Codec, decode_pixels, encode_pixels
pixels = np.full((24, 20, 3), (200, 30, 90), np.uint8)
for _ in range(3):
    decoded = decode_pixels(encode_pixels(pixels, Codec.JPEG), Codec.JPEG, (24, 20))
print("off by", np.abs(decoded.astype(int) - pixels).max() > 3)
"""


@pytest.fixture
def pixels(rng: np.random.Generator) -> np.ndarray:
    coarse = rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (64, 48)), np.uint8)


@pytest.mark.parametrize("chroma", list(Chroma))
@pytest.mark.parametrize("quality", [50, 95])
def test_both_decoders_return_the_same_pixels(
    pixels: np.ndarray, chroma: Chroma, quality: int
) -> None:
    setting = JpegSetting(quality, chroma)
    for content in (encode_jpeg(pixels, setting), encode_by_opencv(pixels, setting)):
        apart = decode_by_opencv(content).astype(int) - decode_jpeg(content)
        assert np.abs(apart).max() <= 2


def test_neither_decoder_turns_a_picture(pixels: np.ndarray) -> None:
    exif = Image.Exif()
    exif[274] = 6  # a quarter turn
    stored = BytesIO()
    Image.fromarray(pixels).save(stored, "JPEG", exif=exif)
    content = stored.getvalue()
    assert decode_jpeg(content).shape == decode_by_opencv(content).shape == pixels.shape


def test_what_opencv_cannot_decode_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="OpenCV cannot decode it"):
        decode_by_opencv(b"\xff\xd8\xff\xd9")


def test_missing_simplejpeg_is_said_once_and_opencv_takes_over() -> None:
    said = subprocess.run(
        [sys.executable, "-c", WITHOUT],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
    ).stdout
    assert said.splitlines() == ["WARNING jpeg.lesser_decoder", "off by False"]
