"""One kind of progress bar for all commands."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from engines.commandline.progress import progress_bars

ROOT = Path(__file__).parents[4]


@pytest.mark.parametrize("counted", [True, False])
@pytest.mark.parametrize("rate", [True, False])
def test_names_are_shown_as_they_are(counted: bool, rate: bool) -> None:  # noqa: FBT001
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    with progress_bars(console, counted=counted, rate=rate) as bars:
        bars.advance(bars.add_task("[red]parts[/]", total=3), 2)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "[red]parts[/]" in shown
    assert ("2/3" in shown) == counted


def test_bars_are_made_in_one_module() -> None:
    modules = [
        path.relative_to(ROOT).as_posix()
        for package in ("engines", "pipeline", "trainer")
        for path in (ROOT / package).rglob("*.py")
        if "BarColumn" in path.read_text("utf-8")
    ]
    assert modules == ["engines/commandline/progress.py"]
