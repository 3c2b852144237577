"""Captions stay readable, however long a name or small a picture is."""

import numpy as np
import pytest

from trainer.results.drawing import CAPTION, write_caption

FIGURES = ": 0.123 NG; threshold 0.456"


def drawn(width: int, name: str) -> np.ndarray:
    line = np.full((CAPTION, width, 3), 255, np.uint8)
    write_caption(line, name, FIGURES)
    return (line < 255).any(axis=(0, 2))


@pytest.mark.parametrize("width", [3 * 64, 3 * 256])
@pytest.mark.parametrize("name", ["test/good/000.png", "test/scratch/" + 90 * "x" + ".png"])
def test_caption_ends_within_its_picture(width: int, name: str) -> None:
    inked = drawn(width, name)
    assert inked.any()
    assert not inked[-2:].any()  # a caption that runs out has ink up to the rim


def test_long_name_loses_its_beginning_and_not_the_figures() -> None:
    short, long = drawn(3 * 256, ""), drawn(3 * 256, 200 * "x")
    width = np.flatnonzero(short)[-1] - np.flatnonzero(short)[0]
    assert np.flatnonzero(long)[-1] > 3 * 256 - 30
    assert width > 100
