"""pipeline-loop where the gate refuses an engine."""

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from pipeline.commands.subprocesses import ProcessFailed
from pipeline.demo.loop.loop import REFUSED_BY_GATE, _Show
from pipeline.demo.loop.settings import LoopPaths, LoopSettings
from pipeline.errors import BrokenPromise


def show_whose_retraining_ends_with(status: int, folder: Path) -> _Show:
    def start(name: str, command: str, *flags: str, **_: object) -> object:
        assert command == "trainer-retrain"
        said = f"{name} ended with status {status} {flags[-1]}"

        def wait(_: float) -> None:
            raise ProcessFailed(said, status)

        return SimpleNamespace(wait=wait)

    settings = LoopSettings(data=folder, out=folder / "out")
    crew: Any = SimpleNamespace(start=start)
    link: Any = SimpleNamespace(client=None)
    return _Show(settings, Console(file=io.StringIO()), LoopPaths(settings.out), link, crew)


def test_refusal_by_the_gate_says_where_its_report_lies_and_what_to_do(tmp_path: Path) -> None:
    show = show_whose_retraining_ends_with(REFUSED_BY_GATE, tmp_path)
    with pytest.raises(BrokenPromise, match=r"refused the second engine.*runs.*--first-steps"):
        show._retrain("second")


def test_any_other_end_is_a_fault(tmp_path: Path) -> None:
    show = show_whose_retraining_ends_with(1, tmp_path)
    with pytest.raises(ProcessFailed, match="status 1"):
        show._retrain("second")
