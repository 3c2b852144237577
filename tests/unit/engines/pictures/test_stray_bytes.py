"""Camera JPEGs with bytes between their segments; Pillow decodes the clean file beside us."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engines.errors import PictureError
from engines.pictures.read import describe_picture
from engines.pictures.rules import PictureRules
from engines.pictures.stray_bytes import without_stray_bytes


def jpeg(*, progressive: bool = False) -> bytes:
    rng = np.random.default_rng(1)
    file = io.BytesIO()
    pixels = rng.integers(0, 256, (24, 40, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=90, progressive=progressive)
    return file.getvalue()


CLEAN = jpeg()
SCAN = CLEAN.index(b"\xff\xda")
STRAY = CLEAN[:SCAN] + b"\x00\x17" + CLEAN[SCAN:]
TWO_STARTS = b"\xff\xd8" + CLEAN


ALLOWED = PictureRules(allow_stray_bytes=True)


def test_what_one_reader_allows_another_still_refuses() -> None:
    assert describe_picture(STRAY, "p", ALLOWED).stray_bytes == 2
    with pytest.raises(PictureError):
        describe_picture(STRAY, "p")


@pytest.mark.parametrize("content", [STRAY, TWO_STARTS])
def test_stray_bytes_are_refused_unless_they_are_allowed(content: bytes) -> None:
    with pytest.raises(PictureError):
        describe_picture(content, "p")


@pytest.mark.parametrize("content", [STRAY, TWO_STARTS])
def test_allowed_stray_bytes_are_skipped_and_counted(content: bytes) -> None:
    decoded = describe_picture(content, "p", ALLOWED)
    assert decoded.stray_bytes == 2
    expected = np.asarray(Image.open(io.BytesIO(CLEAN)).convert("RGB"))
    assert np.abs(decoded.pixels.astype(int) - expected).max() <= 3


def test_truncated_file_stays_refused() -> None:
    for kept in (len(STRAY) // 2, len(STRAY) - 2):
        with pytest.raises(PictureError):
            describe_picture(STRAY[:kept], "p", ALLOWED)


@pytest.mark.parametrize("progressive", [False, True])
def test_clean_file_comes_back_as_it_is(progressive: bool) -> None:  # noqa: FBT001
    content = jpeg(progressive=progressive)
    assert without_stray_bytes(content) == (content, 0)


@given(st.binary(max_size=60), st.sampled_from([b"", b"\xff\xd8", CLEAN[:SCAN]]))
def test_any_bytes_pass_without_an_error(content: bytes, start: bytes) -> None:
    cleaned, stray = without_stray_bytes(start + content)
    assert len(cleaned) + stray == len(start + content)
