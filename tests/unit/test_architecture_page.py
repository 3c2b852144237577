import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
FOLDERS = sorted(
    {
        path.parent.relative_to(ROOT).as_posix()
        for package in ("engines", "pipeline", "trainer")
        for path in (ROOT / package).rglob("*.py")
    }
)


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_folder_stands_in_the_architecture_page(folder: str) -> None:
    assert f"`{folder}/`" in PAGE


PATHS = re.compile(r"`((?:engines|pipeline|trainer|tests|docs|deploy)/[\w./-]*)`")
MODULES = re.compile(r"`((?:engines|pipeline|trainer)(?:\.[A-Za-z_]\w*)+)`")
TEXTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_paths_in_the_docs_exist(text: Path) -> None:
    named = PATHS.findall(text.read_text("utf-8"))
    assert [path for path in named if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.name)
def test_modules_in_the_docs_exist(text: Path) -> None:
    named = MODULES.findall(text.read_text("utf-8"))
    assert [name for name in named if not _is_there(name) and not _is_log_event(name)] == []


def _is_log_event(name: str) -> bool:
    sources = [*(ROOT / "pipeline").rglob("*.py"), *(ROOT / "engines").rglob("*.py")]
    return any(f'("{name}"' in source.read_text("utf-8") for source in sources)


def _is_there(name: str) -> bool:
    path = ROOT / name.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    parent, _, attribute = name.rpartition(".")
    places = [path.parent / "__init__.py", path.parent.with_suffix(".py")]
    return bool(parent) and any(
        re.search(rf"\b{attribute}\b", place.read_text("utf-8"))
        for place in places
        if place.is_file()
    )
