"""The terminal: foreign text is never read as markup or as an escape sequence.

Names of parts come from file names; models, versions and errors come from elsewhere. rich would
read `[red]` in one of them as markup and `[/]` as an error in it, and would pass an escape sequence
on.
"""

import re
from typing import IO, Any

from rich.console import Console
from rich.text import Text

# control characters except tab and line feed, and those that change the writing direction
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return a text with its control characters escaped, as `\x1b`."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def styled(text: str, style: str = "") -> Text:
    """Return foreign text in one of our styles."""
    return Text(visible(text), style)


def headed(words: str, rest: str, style: str = "bold") -> Text:
    """Return a line that begins with styled words."""
    return Text.assemble((visible(words), style), " ", visible(rest))


class Terminal(Console):
    """rich's console without markup; styles come from `style=` or a `Text`."""

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None) -> None:
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  # as rich has them
        """Render a string with its control characters escaped."""
        return super().render_str(visible(text), **options)
