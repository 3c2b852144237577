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
