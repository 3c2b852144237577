"""Watching a store, and the command as a person runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.retrain import PlainLearner, fill_store, options, run
from rich.console import Console

from engines.registry.registry import Registry
from trainer.progress import TerminalSteps
from trainer.retrain.options import Dependencies
from trainer.retrain.run import exclusive_run, past_runs
from trainer.retrain.watch import watch

COMMAND = [sys.executable, "-c", "from trainer.cli import retrain; retrain()"]


class Days:
    """Waits without waiting: each wait is a day on which something comes in."""

    def __init__(self, home: Path, arrivals: list[tuple[int, int]]) -> None:
        self._home = home
        self._arrivals = arrivals
        self.passed = 0

    def __call__(self, _: float) -> None:
        normals, defects = self._arrivals[self.passed]
        self.passed += 1
        if normals + defects:
            fill_store(self._home / "store", normals, defects, seed=10 + self.passed)


def watched(home: Path, arrivals: list[tuple[int, int]], **enough: int) -> list[str]:
    given, said = options(home, every_s=1, **enough), list[str]()
    with TerminalSteps(Console(quiet=True)) as steps:
        dependencies = Dependencies(steps, said.append, lambda _: 1, learner=PlainLearner)
        registry, days = Registry(given.registry), Days(home, arrivals)
        watch(given, registry, dependencies, days, rounds=len(arrivals))
    return said


def test_watch_retrains_when_enough_is_new_and_not_before(tmp_path: Path) -> None:
    fill_store(tmp_path / "store")
    arrivals = [(0, 0), (3, 0), (40, 0), (0, 0)]
    said = watched(tmp_path, arrivals, new_normals=20, new_defects=15)
    assert len(past_runs(tmp_path / "runs")) == 2
    assert sum(line.startswith("promoted") for line in said) == 1
    assert sum(line.startswith("refused") for line in said) == 1


def test_watch_says_what_goes_wrong_and_tries_again(tmp_path: Path) -> None:
    fill_store(tmp_path / "store")
    (tmp_path / "registry").write_text("no folder")
    said = watched(tmp_path, [(0, 0)], new_normals=1)
    assert said[-1].startswith("trying again in 1 s")


def command(home: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    where = ["--store", "store", "--registry", "registry", "--runs", "runs", "--json"]
    words = [*COMMAND, *where, "--model", "protoad", "--size", "64", *flags]
    return subprocess.run(words, capture_output=True, text=True, check=False, cwd=home)


def test_command_promotes_a_real_network_and_then_finds_nothing_new(tmp_path: Path) -> None:
    fill_store(tmp_path / "store")
    done = command(tmp_path, "--allow-ungated", "--prototypes-only")
    assert done.returncode == 0, done.stderr
    ending = json.loads(done.stdout)
    assert ending["result"] == "promoted"
    assert "UNPROVEN" in ending["why"]
    pointer = Registry(str(tmp_path / "registry")).pointer()
    assert pointer is not None
    assert pointer.promoted == ending["version"]
    assert pointer.by.startswith("trainer-retrain")
    again = command(tmp_path, "--allow-ungated", "--prototypes-only")
    assert json.loads(again.stdout)["result"] == "nothing new"


def test_command_refuses_with_a_status_of_its_own_and_keeps_the_report(tmp_path: Path) -> None:
    fill_store(tmp_path / "store")
    assert run(tmp_path).result == "promoted"
    done = command(tmp_path)
    assert done.returncode == 3, done.stderr
    ending = json.loads(done.stdout)
    assert "too few golden pictures" in ending["why"]
    assert (tmp_path / ending["run"] / "gate" / "gate.html").is_file()


def test_collecting_alone_begins_no_run(tmp_path: Path) -> None:
    fill_store(tmp_path / "store")
    done = command(tmp_path, "--collect-only")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"] == "stopped"
    assert past_runs(tmp_path / "runs") == []


def test_second_command_names_the_process_at_work(tmp_path: Path) -> None:
    fill_store(tmp_path / "store", 3, 1)
    with exclusive_run(tmp_path / "runs"):
        done = command(tmp_path)
    assert done.returncode == 1
    assert "retrains with" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--line", "line-1"), "--line needs --archive"),
        (("--size", "80"), "not a multiple of 32"),
        (("--redis-url", "redis://:secret@host"), "password on the command line"),
    ],
)
def test_flags_that_cannot_be_meant_are_refused(
    tmp_path: Path, flags: tuple[str, ...], said: str
) -> None:
    done = command(tmp_path, *flags)
    assert done.returncode == 2
    assert said in done.stderr
