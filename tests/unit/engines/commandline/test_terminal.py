"""Text of others on the terminal: printed as it is, never as markup and never as an order."""

import ast
import io
from pathlib import Path

import pytest
from fakes.places import ROOT
from rich.console import Console, Group
from rich.table import Table

from engines.commandline.terminal import Terminal, headed, styled

FOREIGN = {
    "part[/]": "part[/]",
    "[red]part": "[red]part",
    "part :smile:": "part :smile:",
    "\x1b[31mpart\x07": "\\x1b[31mpart\\x07",
    "\x9b2Jpart": "\\x9b2Jpart",
    "a\u202egnp.b": "a\\u202egnp.b",
    "Teil-7 \u00fc \u96f6\u4ef6": "Teil-7 \u00fc \u96f6\u4ef6",
}
SOURCES = [
    path
    for package in ("engines", "pipeline", "trainer")
    for path in (ROOT / package).rglob("*.py")
]
OURS = ROOT / "engines" / "commandline" / "terminal.py"


@pytest.mark.parametrize(("text", "shown"), FOREIGN.items())
def test_foreign_text_is_printed_as_it_is(text: str, shown: str) -> None:
    output = io.StringIO()
    table = Table(text, title=text)
    table.add_row(text)
    parts = [text, table, headed(text, text), styled(text), Group(text, styled(text))]
    for part in parts:
        Terminal(file=output).print(part, width=60)
    assert output.getvalue().count(shown) == 9
    assert "\x1b" not in output.getvalue()


def calls(path: Path) -> list[ast.Call]:
    nodes = ast.walk(ast.parse(path.read_text("utf-8")))
    return [node for node in nodes if isinstance(node, ast.Call)]


def test_every_console_is_a_terminal() -> None:
    """rich's own console takes markup from whatever it is given."""
    made = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in SOURCES
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == Console.__name__
    ]
    assert made == []


def test_nothing_turns_markup_on_again() -> None:
    turned_on = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in SOURCES
        if path != OURS
        for call in calls(path)
        for keyword in call.keywords
        if keyword.arg == "markup" and ast.unparse(keyword.value) != "False"
    ]
    columns = [
        f"{path.relative_to(ROOT)}:{call.lineno}"
        for path in SOURCES
        for call in calls(path)
        if ast.unparse(call.func).endswith(("TextColumn", "from_markup"))
        and not any(keyword.arg == "markup" for keyword in call.keywords)
    ]
    assert turned_on + columns == []
