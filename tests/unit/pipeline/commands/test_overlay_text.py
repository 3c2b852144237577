"""Text in any script: with a font that has it, or as code points."""

from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from pipeline.commands.overlay_text import TextPainter, font_files

WHITE, BLACK = (255, 255, 255), (0, 0, 0)
MIDDLE = "\u4e2d"


def square(side: int) -> object:
    pen = TTGlyphPen(None)
    for number, corner in enumerate([(0, 0), (0, side), (side, side), (side, 0)]):
        (pen.lineTo if number else pen.moveTo)(corner)
    pen.closePath()
    return pen.glyph()


@pytest.fixture
def one_character(tmp_path: Path) -> Path:
    """A font whose only character, U+4E2D, is a square."""
    font = FontBuilder(1000, isTTF=True)
    font.setupGlyphOrder([".notdef", "middle"])
    font.setupCharacterMap({ord(MIDDLE): "middle"})
    font.setupGlyf({".notdef": square(300), "middle": square(800)})
    font.setupHorizontalMetrics({".notdef": (400, 0), "middle": (1000, 0)})
    font.setupHorizontalHeader(ascent=900, descent=-100)
    font.setupNameTable({"familyName": "Middle", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "wqy-middle.ttf")
    return tmp_path / "wqy-middle.ttf"


def drawn(painter: TextPainter, text: str, most_width: int = 2000) -> np.ndarray:
    return painter.draw(text, 20, WHITE, BLACK, most_width)


def test_character_is_drawn_with_the_first_font_that_has_it(one_character: Path) -> None:
    picture = drawn(TextPainter([one_character]), MIDDLE)
    assert (picture[6:19, 2:15] == WHITE).all()
    joined = drawn(TextPainter([one_character]), f"a{MIDDLE}b")
    assert joined.shape[1] > picture.shape[1] + 10


def test_ascii_needs_no_font_of_the_system(caplog: pytest.LogCaptureFixture) -> None:
    every = "".join(map(chr, range(32, 127)))
    assert drawn(TextPainter([]), every).max() == 255
    assert not caplog.records


def test_character_without_a_font_is_drawn_as_its_code_point(
    caplog: pytest.LogCaptureFixture,
) -> None:
    painter = TextPainter([])
    for text, escaped in ((f"a{MIDDLE}", r"a\u4e2d"), ("\U0001f4a5", r"\U0001f4a5")):
        assert np.array_equal(drawn(painter, text), drawn(painter, escaped))
        drawn(painter, text)
    assert [record.message for record in caplog.records] == ["overlay.no_glyph"] * 2


@pytest.mark.parametrize("control", ["\n", "\x1b", "\u202e", "\u200f"])
def test_control_characters_are_drawn_as_code_points(control: str) -> None:
    painter = TextPainter()
    assert np.array_equal(
        drawn(painter, f"a{control}b"), drawn(painter, f"a{ascii(control)[1:-1]}b")
    )


def test_different_ids_never_look_the_same() -> None:
    painter = TextPainter([])
    pictures = {drawn(painter, text).tobytes() for text in ("\u4e2d", "\u6587", "?", "\u0434")}
    assert len(pictures) == 4


@pytest.mark.parametrize("text", ["", "x" * 400, MIDDLE * 100])
@pytest.mark.parametrize("most_width", [1, 40, 300])
def test_text_is_never_wider_than_asked_for(text: str, most_width: int) -> None:
    assert drawn(TextPainter([]), text, most_width).shape[1] <= most_width


def test_fonts_of_the_system_are_found_by_name_in_order(
    tmp_path: Path, one_character: Path
) -> None:
    (tmp_path / "noto").mkdir()
    for name in ("NotoSansThai-Regular.ttf", "NotoSans-Regular.ttf", "Comic.ttf", "DejaVuSans.ttf"):
        (tmp_path / "noto" / name).touch()
    names = [path.name for path in font_files([tmp_path, tmp_path / "none"])]
    assert names == [
        "DejaVuSans.ttf",
        "NotoSans-Regular.ttf",
        "NotoSansThai-Regular.ttf",
        one_character.name,
    ]


def test_damaged_font_is_named_and_done_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "NotoSansOdd-Regular.ttf").write_bytes(b"no font")
    drawn(TextPainter([tmp_path / "NotoSansOdd-Regular.ttf"]), "a")
    assert [record.message for record in caplog.records] == ["overlay.no_font"]
