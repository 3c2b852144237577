"""A process that fills a sample store is killed at every one of its writes."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.places import PROGRAMS

KILLER = PROGRAMS / "sample_killer.py"


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: hundreds of stores, each written with fsync."""
    memory = Path("/dev/shm")  # noqa: S108  # a folder of a name of its own in it
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)


@pytest.mark.parametrize(("what", "least"), [("adding", 60), ("importing", 40)])
def test_no_kill_loses_what_was_acknowledged_and_a_repeat_ends_alike(
    folder: Path, what: str, least: int
) -> None:
    done = subprocess.run(
        [sys.executable, str(KILLER), what, str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["faults"] == {}
    assert said["kills"] >= least
