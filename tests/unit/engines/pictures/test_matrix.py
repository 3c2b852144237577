"""Format, depth, channels and orientation against each other; other decoders are the judges."""

import io
import itertools
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from engines.errors import PictureError
from engines.pictures.read import read_picture

FORMATS = ("png", "bmp", "tif", "jpg")
DEPTHS = ("1", "8", "16", "float")
CHANNELS = ("grey", "rgb", "rgba", "palette", "grey-alpha")
ORIENTATIONS = (1, 2, 3, 6, 8)
ROWS, COLUMNS = 24, 40


def stored(depth: str, channels: str) -> np.ndarray | None:
    """What a file is to hold; None where there is no such picture."""
    rng = np.random.default_rng(7)
    count = {"grey": 1, "palette": 1, "rgb": 3, "rgba": 4, "grey-alpha": 2}[channels]
    shape = (ROWS, COLUMNS) if count == 1 else (ROWS, COLUMNS, count)
    if depth == "1":
        return rng.integers(0, 2, shape).astype(np.bool_) if channels == "grey" else None
    if depth == "float":
        return rng.random(shape, np.float32) if channels == "grey" else None
    if depth == "16" and channels not in {"grey", "rgb"}:
        return None
    top = 65535 if depth == "16" else 255
    values = rng.integers(0, top + 1, shape).astype(np.uint16 if depth == "16" else np.uint8)
    if count in {2, 4}:
        values[..., -1] = 255
    return values


def encode(values: np.ndarray, form: str, channels: str, orientation: int) -> bytes | None:
    """Write with Pillow, or tifffile where Pillow has no such picture; None where neither has."""
    file = io.BytesIO()
    if form == "tif" and values.dtype in {np.dtype(np.uint16), np.dtype(np.float32)}:
        tag = [(274, 3, 1, orientation, True)]
        photometric = "rgb" if values.ndim == 3 else "minisblack"
        tifffile.imwrite(file, values, photometric=photometric, extratags=tag, metadata=None)
        return file.getvalue()
    modes = {"palette": "P", "grey-alpha": "LA"}
    try:
        picture = Image.fromarray(values, modes.get(channels))
        if channels == "palette":
            picture.putpalette(np.random.default_rng(2).integers(0, 256, 768, np.uint8).tolist())
        exif = Image.Exif()
        if orientation != 1:
            exif[274] = orientation
        picture.save(file, {"jpg": "JPEG", "tif": "TIFF"}.get(form, form.upper()), exif=exif)
    except (OSError, KeyError, ValueError, TypeError):
        return None
    return file.getvalue()


def expected(values: np.ndarray, content: bytes, channels: str) -> np.ndarray:
    """The pixels as another decoder sees them, never turned."""
    if values.dtype == np.uint16:
        values = (values >> 8).astype(np.uint8)
        return np.stack([values] * 3, axis=2) if values.ndim == 2 else values
    if channels == "palette":
        palette = np.array(Image.open(io.BytesIO(content)).getpalette("RGB")).reshape(-1, 3)
        return palette[values].astype(np.uint8)
    values = values * np.uint8(255) if values.dtype == np.bool_ else values
    if values.ndim == 2:
        return np.stack([values] * 3, axis=2)
    return np.stack([values[..., 0]] * 3, axis=2) if values.shape[2] == 2 else values[..., :3]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_every_combination_has_the_pixels_of_another_decoder_or_a_reason(
    tmp_path: Path, form: str, orientation: int
) -> None:
    read = 0
    for depth, channels in itertools.product(DEPTHS, CHANNELS):
        values = stored(depth, channels)
        content = None if values is None else encode(values, form, channels, orientation)
        if values is None or content is None:
            continue
        path = tmp_path / f"{depth}-{channels}.{form}"
        path.write_bytes(content)
        if depth == "float":
            with pytest.raises(PictureError, match="32-bit floating-point picture"):
                read_picture(path)
            continue
        pixels = read_picture(path)
        wanted = expected(values, content, channels)
        assert pixels.shape == wanted.shape, path.name
        if form == "jpg":  # Pillow does not turn it by itself
            wanted = np.asarray(Image.open(path).convert("RGB"))
        most = 4 if form == "jpg" else 0
        assert np.abs(pixels.astype(int) - wanted).max() <= most, path.name
        read += 1
    assert read >= 2
