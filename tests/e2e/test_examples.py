"""Each program of examples/ runs against a real line, whose camera and engine are examples too."""

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.places import ROOT
from rigs.processes import WAIT_S

from pipeline.commands.subprocesses import ProcessGroup, wait_until
from pipeline.labels import LabelBook
from pipeline.streams.connect import Access
from pipeline.streams.connection import open_connection
from pipeline.streams.ledger import Ledger

EXAMPLES = ROOT / "examples"
COUNT, SIZE = 12, 64


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The examples as if they were installed: their modules, and what pyproject.toml registers."""
    folder = tmp_path_factory.mktemp("installed")
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text("utf-8"))["project"]
    about = folder / "prn_line_examples-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: prn-line-examples\nVersion: 0\n")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    before = os.environ.get("PYTHONPATH", str(ROOT))
    return {
        "PYTHONPATH": os.pathsep.join([str(folder), str(EXAMPLES), before]),
        "PRN_STATE_DIR": str(folder / "redis"),
        "PRN_LOG_FORMAT": "json",
        "PRN_SIZE": f"{SIZE}x{SIZE}",
    }


def run(environment: dict[str, str], name: str, *words: str) -> list[str]:
    shown = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert shown.returncode == 0, shown.stderr
    return shown.stdout.splitlines()


@pytest.fixture(scope="module")
def state(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A line that has judged the parts of the own source with the own backend."""
    folder, state = tmp_path_factory.mktemp("line"), Path(environment["PRN_STATE_DIR"])
    engine = folder / "bright.level"
    run(environment, "own_backend.py", str(engine), "--above", "0.8", "--side", str(SIZE))
    with (
        open_connection(Access(""), state) as connection,
        ProcessGroup(folder / "logs", environment) as processes,
    ):
        processes.start("worker", "pipeline-worker", "--engine", str(engine), "--skip-admission")
        camera = ("--source", "belt:7", "--rate", "50", "--count", str(COUNT))
        processes.start("camera", "pipeline-camera", *camera).wait(WAIT_S)
        ledger = Ledger(connection.client, "line-1")
        wait_until(lambda: len(list(ledger.results("-", 100))) == COUNT, WAIT_S, "verdicts")
        yield state


def test_plc_program_gets_one_output_for_each_part(
    environment: dict[str, str], state: Path
) -> None:
    assert state.exists()
    lines = run(environment, "plc_program.py", "line-1", "--timeout-s", "1")
    outputs = sorted((line.split()[:3] for line in lines), key=lambda words: int(words[0]))
    assert outputs == [[str(seq), f"belt-{seq + 1}", "EJECT"] for seq in range(COUNT)]


def test_label_script_sends_what_its_file_says(
    environment: dict[str, str], state: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "truth.csv"
    truth.write_text("belt-1,normal\nbelt-2,scratch\nunknown,dent\n")
    assert run(environment, "label_script.py", "line-1", str(truth)) == ["2 labels sent"]
    with LabelBook(line="line-1", state_dir=state) as book:
        sent = [label for _, label in book.since()]
    assert [(label.kind.value, label.defect) for label in sent] == [
        ("normal", ""),
        ("defect", "scratch"),
    ]


def test_every_example_is_run_here_and_listed() -> None:
    here, page = Path(__file__).read_text("utf-8"), (EXAMPLES / "README.md").read_text("utf-8")
    for path in EXAMPLES.glob("*.py"):
        assert path.name in page
        assert path.name in here or path.stem in (EXAMPLES / "pyproject.toml").read_text("utf-8")
