r"""Text of any script as pixels, by Pillow.

Pillow brings a font with ASCII letters. What that lacks is taken from the package weblate-fonts,
the extra `fonts`, which has most scripts, and from fonts of the system, such as those of Debian's
fonts-dejavu-core (accents, Cyrillic, Greek) and fonts-noto-cjk. A character that no font has is
drawn as its code point, as `\u4e2d`: two part ids never look the same.
"""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Colour = tuple[int, int, int]
_PACKAGE = "weblate_fonts"
_PACKAGED = "static/weblate_fonts/kurinto/ttf"
_FOLDERS = (
    Path("/usr/share/fonts"),
    Path("/usr/local/share/fonts"),
    Path("/System/Library/Fonts"),
    Path("/Library/Fonts"),
)
_FILES = (
    "KurintoSans-Rg.ttf",
    "KurintoSans[STJK][CPR]-Rg.ttf",
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSans-Regular.[ot]t[fc]",
    "NotoSansCJK*-Regular.[ot]t[fc]",
    "NotoSans*-Regular.[ot]t[fc]",
    "wqy-*.tt[fc]",
    "DroidSansFallback*.ttf",
    "unifont*.[ot]tf",
    "PingFang.ttc",
    "Arial Unicode.ttf",
)
_NOBODYS = "\uffff"  # no character: what a font draws for it, it draws for all that it lacks
_log = logging.getLogger(__name__)


def font_files(folders: Iterable[Path] | None = None) -> tuple[Path, ...]:
    """List font files for text of any script, the preferred ones first.

    Args:
        folders: where to look; None: in the package weblate-fonts and where systems keep fonts.
    """
    there = [folder for folder in folders or (*_packaged(), *_FOLDERS) if folder.is_dir()]
    found = [sorted(folder.rglob(name)) for name in _FILES for folder in there]
    return tuple(dict.fromkeys(path for paths in found for path in paths))


def _packaged() -> list[Path]:
    found = find_spec(_PACKAGE)
    places = found.submodule_search_locations if found else None
    return [Path(place) / _PACKAGED for place in places or ()]


class TextPainter:
    """Draws lines of text with the first font that has each character."""

    def __init__(self, files: Sequence[Path] | None = None) -> None:
        """Use these font files after Pillow's own, or all that are found if None."""
        self._files = font_files() if files is None else tuple(files)
        self._fonts: dict[int, list[_SizedFont]] = {}
        self._lacking: set[str] = set()

    def draw(
        self, text: str, height: int, colour: Colour, ground: Colour, most_width: int
    ) -> NDArray[np.uint8]:
        """Draw a line of text, smaller where it would be too wide.

        Args:
            text: in one line.
            height: of the font, pixels.
            colour: of the letters, RGB.
            ground: behind them, RGB.
            most_width: pixels.

        Returns: uint8 [h, w, 3] RGB, w at most `most_width`.
        """
        runs = self._runs(text, height)
        width = _width(runs)
        if width > most_width:
            height = max(1, int(height * most_width / width))
            runs = self._runs(text, height)
            width = min(_width(runs), most_width)
        picture = Image.new("RGB", (max(1, round(width)), round(height * 1.3) + 1), ground)
        pen = ImageDraw.Draw(picture)
        left = 0.0
        for font, part in runs:
            pen.text((left, height), part, colour, font, anchor="ls")
            left += font.getlength(part)
        return np.asarray(picture)

    def _runs(self, text: str, height: int) -> list[tuple[Font, str]]:
        """Cut a text into parts that one font has."""
        fonts = self._of_size(height)
        shown = "".join(self._visible(char, fonts) for char in text)
        chosen = [(self._font_of(char, fonts), char) for char in shown]
        return [
            (fonts[place].font, "".join(char for _, char in part))
            for place, part in groupby(chosen, key=lambda pair: pair[0] or 0)
        ]

    def _visible(self, char: str, fonts: list["_SizedFont"]) -> str:
        if char.isprintable() and self._font_of(char, fonts) is not None:
            return char
        if char.isprintable() and char not in self._lacking:
            self._lacking.add(char)
            _log.warning(
                "overlay.no_glyph",
                extra={
                    "character": ascii(char),
                    "why": "no font here has it, so its code point is drawn: pip install "
                    "'prn-line[fonts]', or install a font of the system that has it",
                },
            )
        return ascii(char)[1:-1]

    @staticmethod
    def _font_of(char: str, fonts: list["_SizedFont"]) -> int | None:
        return next((place for place, font in enumerate(fonts) if font.has(char)), None)

    def _of_size(self, height: int) -> list["_SizedFont"]:
        if height not in self._fonts:
            own = _SizedFont(ImageFont.load_default(height))
            self._fonts[height] = [own, *_opened(self._files, height)]
        return self._fonts[height]


class _SizedFont:
    """A font of one size, and which characters it has."""

    def __init__(self, font: Font) -> None:
        self.font = font
        self._nobodys = _drawn(font, _NOBODYS)
        self._known: dict[str, bool] = {" ": True}

    def has(self, char: str) -> bool:
        if char not in self._known:
            self._known[char] = _drawn(self.font, char) != self._nobodys
        return self._known[char]


def _drawn(font: Font, char: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(char)
    return mask.size, bytes(mask)


def _opened(files: Sequence[Path], height: int) -> list[_SizedFont]:
    found = []
    for file in files:
        try:
            found.append(_SizedFont(ImageFont.truetype(str(file), height)))
        except OSError as error:
            _log.warning("overlay.no_font", extra={"font": str(file), "why": str(error)})
    return found


def _width(runs: list[tuple[Font, str]]) -> float:
    return sum(font.getlength(part) for font, part in runs)


@cache
def painter() -> TextPainter:
    """Return this process's painter with all fonts that are found, looked for once."""
    return TextPainter()
