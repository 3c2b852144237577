"""What masks mean, as people bring them; Pillow writes and reads beside us."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from engines.errors import PictureError
from engines.pictures.masks import marked_pixels, read_mask

SHAPE = (40, 60)


def marked() -> np.ndarray:
    """Two spots."""
    spots = np.zeros(SHAPE, np.bool_)
    spots[5:15, 10:30] = True
    spots[25:35, 40:50] = True
    return spots


def of_value(value: int, dtype: type = np.uint8) -> np.ndarray:
    return (marked() * value).astype(dtype)


def two_classes(first: int, second: int) -> np.ndarray:
    values = of_value(first)
    values[25:35, 40:50] = second
    values[10:15, 10:30] = second  # where both touch
    return values


def voc() -> Image.Image:
    """Class 8 and the void border of Pascal VOC, in its colours."""
    picture = Image.fromarray(of_value(8), "P")
    palette = np.zeros((256, 3), np.uint8)
    for index in range(256):
        for bit in range(8):
            for channel in range(3):
                palette[index, channel] |= ((index >> (3 * (bit % 3) + channel)) & 1) << (7 - bit)
    palette[8] = (64, 0, 0)
    picture.putpalette(palette.ravel().tolist())
    return picture


def on_transparency(colour: int) -> np.ndarray:
    drawn = np.zeros((*SHAPE, 4), np.uint8)
    drawn[..., :3] = 255 if colour else 0
    drawn[marked()] = (colour, colour, colour, 255)
    return drawn


FORMS = {
    "0 and 255": Image.fromarray(of_value(255)),
    "class 1": Image.fromarray(of_value(1)),
    "class 3": Image.fromarray(of_value(3)),
    "grey 120": Image.fromarray(of_value(120)),
    "classes 1 and 2": Image.fromarray(two_classes(1, 2)),
    "classes 64 and 200": Image.fromarray(two_classes(64, 200)),
    "classes 64 and 255": Image.fromarray(two_classes(64, 255)),
    "1 bit": Image.fromarray(marked()),
    "16 bits": Image.fromarray(of_value(65535, np.uint16)),
    "class 2 of 16 bits": Image.fromarray(of_value(2, np.uint16)),
    "palette": voc(),
    "white on transparency": Image.fromarray(on_transparency(255)),
    "black on transparency": Image.fromarray(on_transparency(0)),
    "red": Image.fromarray(np.stack([of_value(200), of_value(0), of_value(0)], axis=2)),
    "grey and alpha": Image.fromarray(np.stack([of_value(255), of_value(255) | 255], axis=2), "LA"),
}


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_mask_marks_the_same_pixels(tmp_path: Path, form: str, suffix: str) -> None:
    FORMS[form].save(tmp_path / f"mask{suffix}")
    assert np.array_equal(read_mask(tmp_path / f"mask{suffix}"), marked())


def test_forty_numbered_defects_are_forty_defects() -> None:
    numbered = np.zeros((80, 80), np.uint8)
    for number in range(40):
        top, left = 8 * (number // 8), 10 * (number % 8)
        numbered[top : top + 6, left : left + 6] = number + 1
    assert np.array_equal(marked_pixels(numbered), numbered > 0)


@pytest.mark.parametrize("levels", [4, 200])
def test_smoothed_edges_are_cut_in_the_middle(levels: int) -> None:
    large = cv2.resize(of_value(255), (480, 320), interpolation=cv2.INTER_NEAREST)
    soft = cv2.resize(large, (97, 67), interpolation=cv2.INTER_AREA)
    if levels < 16:
        soft = np.asarray(np.rint(soft / 255 * levels) * (252 // levels), np.uint8)
    assert np.array_equal(marked_pixels(soft), soft > soft.max() / 2)


def test_noise_of_jpeg_marks_nothing_beside_the_defect(tmp_path: Path) -> None:
    Image.fromarray(of_value(255)).save(tmp_path / "m.jpg", quality=70)
    assert np.array_equal(read_mask(tmp_path / "m.jpg"), marked())


@pytest.mark.parametrize("values", [of_value(3), two_classes(64, 200)])
def test_class_numbers_in_a_jpeg_are_refused(tmp_path: Path, values: np.ndarray) -> None:
    Image.fromarray(values).save(tmp_path / "m.jpg", quality=90)
    with pytest.raises(PictureError, match=r"m\.jpg: JPEG mask .*save it as PNG"):
        read_mask(tmp_path / "m.jpg")


def test_transparent_mask_and_black_mask_mark_nothing() -> None:
    assert not marked_pixels(np.zeros((*SHAPE, 4), np.uint8)).any()
    assert not marked_pixels(np.zeros(SHAPE, np.uint8)).any()


@pytest.mark.parametrize(
    "values", [np.full(SHAPE, np.nan, np.float32), np.full(SHAPE, -1, np.int16)]
)
def test_values_without_a_meaning_are_refused(values: np.ndarray) -> None:
    with pytest.raises(PictureError, match="save it as 8-bit PNG"):
        marked_pixels(values)


@given(st.integers(1, 65535), st.booleans())
def test_any_single_value_above_0_is_defect(value: int, deep: bool) -> None:  # noqa: FBT001
    values = of_value(value if deep else max(1, value % 256), np.uint16 if deep else np.uint8)
    assert np.array_equal(marked_pixels(values), marked())
