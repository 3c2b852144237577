"""Pages that read well in any editor: short lines, and links that lead somewhere."""

import re
from pathlib import Path

import pytest
from fakes.places import ROOT

MOST_COLUMNS = 120
LEFT_OUT = {".git", ".venv", "demo-out", "node_modules", "build"}
PAGES = sorted(
    path for path in ROOT.rglob("*.md") if not LEFT_OUT & set(path.relative_to(ROOT).parts)
)
FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_line_is_at_most_120_columns_outside_tables(page: Path) -> None:
    lines = page.read_text("utf-8").splitlines()
    long = [number for number, line in enumerate(lines, 1) if _is_long(line)]
    assert long == []


def _is_long(line: str) -> bool:
    return len(line) > MOST_COLUMNS and not line.lstrip().startswith("|")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_heading_stands_after_an_empty_line(page: Path) -> None:
    lines = ["", *FENCED.sub("", page.read_text("utf-8")).splitlines()]
    crowded = [
        lines[number]
        for number in range(1, len(lines))
        if re.match(r"#{1,6} ", lines[number]) and lines[number - 1]
    ]
    assert crowded == []


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCED.sub("", page.read_text("utf-8"))
    assert [
        link for link in LINK.findall(text) if "://" not in link and not _leads(page, link)
    ] == []


def _leads(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if not target.exists() or not anchor:
        return target.exists()
    headings = re.findall(r"^#{1,6} (.*)$", target.read_text("utf-8"), re.MULTILINE)
    return anchor in {_slug(heading) for heading in headings}


def _slug(heading: str) -> str:
    """Return a heading's anchor as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_glossary_explains_each_word_once() -> None:
    rows = re.findall(
        r"^\| ([^|]+) \|", (ROOT / "docs/glossary.md").read_text("utf-8"), re.MULTILINE
    )
    assert sorted(rows) == sorted(set(rows))


def test_changelog_names_nothing_twice_and_each_entry_on_one_line() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
    entries = [line for line in lines if line.startswith("- ")]
    assert sorted(entries) == sorted(set(entries))
    assert [line for line in lines if line.startswith("  ")] == []
