import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "design.md").read_text("utf-8")
ROOMS = PAGE.partition("\n## Rooms\n")[2].partition("\n## ")[0]
MODULES = sorted(
    path.relative_to(ROOT).as_posix()
    for room in ("engines", "pipeline", "trainer")
    for path in (ROOT / room).rglob("*.py")
    if path.stem != "__init__"
)


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stands_in_the_design_page(module: str) -> None:
    path = Path(module)
    words = set(re.findall(r"\w+", ROOMS))
    in_package_of_one_purpose = path.parent.name == "wire"
    assert path.stem in words or in_package_of_one_purpose
