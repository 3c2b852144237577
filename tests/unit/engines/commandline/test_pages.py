"""Pages: what comes from elsewhere is shown, never obeyed."""

from pathlib import Path

import pytest
from jinja2 import UndefinedError

from engines.commandline.pages import render_page

ROOT = Path(__file__).parents[4]
TEMPLATES = [
    path
    for package in ("engines", "pipeline", "trainer")
    for path in (ROOT / package).rglob("templates/*")
]


def test_templates_are_found() -> None:
    assert {path.name for path in TEMPLATES} == {"page.html", "gate.html", "report.html"}


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_template_names_all_that_it_needs_and_turns_no_escaping_off(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "safe" not in text
    assert "autoescape" not in text
    package = ".".join(path.parent.parent.relative_to(ROOT).parts)
    if path.name == "page.html":
        assert b"<!doctype html>" in render_page(package, path.name)
        return
    with pytest.raises(UndefinedError):
        render_page(package, path.name)
