"""No format is turned: Pillow writes the orientation, and pixels stay in the file's order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engines.pictures.orientation import read_orientation, without_orientation
from engines.pictures.read import read_picture

PIXELS = np.random.default_rng(3).integers(0, 256, (12, 20, 3), np.uint8)


def save(path: Path, orientation: int, pixels: np.ndarray = PIXELS) -> Path:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(path, exif=exif, quality=100, subsampling=0)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
@pytest.mark.parametrize("grey", [False, True])
def test_orientation_is_seen_and_never_applied(
    tmp_path: Path,
    suffix: str,
    orientation: int,
    grey: bool,  # noqa: FBT001
) -> None:
    pixels = PIXELS[..., 0] if grey else PIXELS
    path = save(tmp_path / f"p{suffix}", orientation, pixels)
    assert read_orientation(path.read_bytes()) == orientation
    stored = np.stack([pixels] * 3, axis=2) if grey else pixels  # Pillow turns what it reads
    assert np.abs(read_picture(path).astype(int) - stored).max() <= (9 if suffix == ".jpg" else 0)


@given(st.binary(max_size=80), st.sampled_from([b"", b"II*\0", b"MM\0*", b"\xff\xd8", b"\x89PNG"]))
def test_foreign_bytes_have_no_orientation_and_stay_as_they_are(body: bytes, start: bytes) -> None:
    assert 1 <= read_orientation(start + body) <= 8
    assert len(without_orientation(start + body)) == len(start + body)
