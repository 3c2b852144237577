"""The terminal: text of others is printed as it is, never as markup and never as an order.

Names of parts come from file names, and models, versions and errors from elsewhere. rich would take
`[red]` in one of them for markup, `[/]` for an error in it, and pass an escape sequence on.
"""

import re
from typing import IO, Any

from rich.console import Console
from rich.text import Text

# control characters but tab and line feed, and those that turn the direction of writing
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return a text with its control characters written out, as `\x1b`."""
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], text)


def styled(text: str, style: str = "") -> Text:
    """Return a text of others in a style of ours."""
    return Text(visible(text), style)


def headed(words: str, rest: str, style: str = "bold") -> Text:
    """Return a line that begins with styled words."""
    return Text.assemble((visible(words), style), " ", visible(rest))


class Terminal(Console):
    """rich's console, without markup; styles are given by `style=` or as a `Text`."""

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None) -> None:
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  # as rich has them
        """Return a string as rich prints it, its control characters written out."""
        return super().render_str(visible(text), **options)
