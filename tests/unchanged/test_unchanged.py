"""What users, other programs and files on disk see is as it was at commit cba2de7."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from compare import GOLDEN, differences, read

HERE = Path(__file__).parent
EXPECTED = read(GOLDEN)


@pytest.fixture(scope="module")
def now(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("unchanged") / "now.json"
    program = [sys.executable, str(HERE / "capture.py"), "--out", str(out)]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert out.is_file(), done.stderr
    return read(out)


@pytest.mark.parametrize("section", sorted(EXPECTED))
def test_section_is_as_it_was(section: str, now: dict[str, Any]) -> None:
    found = differences(section, EXPECTED[section], now.get(section, {}))
    assert not found, f"{len(found)} differences\n" + "\n\n".join(found)


def test_no_section_is_left_out(now: dict[str, Any]) -> None:
    assert sorted(now) == sorted(EXPECTED)
