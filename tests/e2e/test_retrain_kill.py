"""A retrain that is killed, or whose disk is full, at every stage: it goes on and ends alike."""

import multiprocessing
import os
import shutil
import signal
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest
from fakes.retrain import fill_store, full_from, killed_at, run

from engines.errors import RegistryError
from engines.registry.registry import Registry
from trainer.errors import RetrainBusyError, StageError
from trainer.retrain.run import STAGES, StageEvent, exclusive_run, past_runs

POINTS: list[tuple[str, StageEvent]] = [(name, "worked") for name in STAGES] + [
    (name, "kept") for name in STAGES if name != "collect"
]


@pytest.fixture(scope="module")
def context() -> ForkServerContext:
    """Children of a server that has imported everything once."""
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["fakes.retrain"])
    return made


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plates") / "store"
    fill_store(folder)
    return folder


@pytest.fixture(scope="module")
def unkilled(filled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("unkilled")
    shutil.copytree(filled, home / "store")
    assert run(home).result == "promoted"
    return home


@pytest.fixture
def home(filled: Path, tmp_path: Path) -> Path:
    shutil.copytree(filled, tmp_path / "store")
    return tmp_path


def registered(home: Path) -> list[tuple[str, str, tuple[str, ...]]]:
    registry = Registry(str(home / "registry"))
    return [(each.name, each.sha256, each.files) for each in registry.versions()]


def same_registry(home: Path, other: Path) -> bool:
    ours, theirs = (Registry(str(each / "registry")) for each in (home, other))
    pointer, wanted = ours.pointer(), theirs.pointer()
    assert pointer is not None
    assert wanted is not None
    return (
        registered(home) == registered(other)
        and (pointer.promoted, pointer.previous) == (wanted.promoted, wanted.previous)
        and len(ours.history()) == len(theirs.history()) == 1
    )


@pytest.mark.parametrize(("stage", "point"), POINTS)
def test_run_that_is_killed_ends_with_the_registry_of_one_that_was_not(
    context: ForkServerContext, home: Path, unkilled: Path, stage: str, point: StageEvent
) -> None:
    child = context.Process(target=killed_at, args=(str(home), stage, point))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    assert run(home).result == "promoted"
    assert same_registry(home, unkilled)
    assert len(past_runs(home / "runs")) == 1
    said = (home / "said.txt").read_text("utf-8").splitlines()
    done_twice = [name for name in STAGES[2:] if f"{name}: already done" in said]
    expected = STAGES[2 : STAGES.index(stage) + (point == "kept")]
    assert done_twice == list(expected)


@pytest.mark.parametrize("stage", STAGES)
def test_full_disk_is_said_keeps_the_stages_before_and_the_next_run_goes_on(
    context: ForkServerContext, home: Path, unkilled: Path, stage: str
) -> None:
    child = context.Process(target=full_from, args=(str(home), stage))
    child.start()
    child.join()
    assert child.exitcode == 0
    error = (home / "error.txt").read_text("utf-8")
    assert "too large" in error or "Errno 27" in error or "File" in error
    assert not error.startswith(("AssertionError", "TypeError", "ValidationError"))
    assert run(home).result == "promoted"
    assert same_registry(home, unkilled)


def test_registry_that_vanishes_before_the_promotion_costs_nothing(home: Path) -> None:
    registry, away = home / "registry", home / "away"

    def vanish(name: str, at: StageEvent) -> None:
        if (name, at) == ("register", "kept"):
            registry.rename(away)

    with pytest.raises(RegistryError):
        run(home, vanish)
    away.rename(registry)
    assert Registry(str(registry)).pointer() is None
    outcome = run(home)
    assert outcome.result == "promoted"
    pointer = Registry(str(registry)).pointer()
    assert pointer is not None
    assert pointer.promoted == outcome.version


def test_second_retrain_is_told_who_is_at_work(home: Path) -> None:
    with (
        exclusive_run(home / "runs"),
        pytest.raises(RetrainBusyError, match=f"process {os.getpid()} already retrains"),
    ):
        run(home)


def test_nothing_new_is_said_and_nothing_done(home: Path) -> None:
    first = run(home)
    again = run(home)
    assert (again.result, again.version) == ("nothing new", first.version)
    assert len(past_runs(home / "runs")) == 1


def test_changed_snapshot_begins_a_new_run_and_equal_answers_are_refused(home: Path) -> None:
    with pytest.raises(StageError):
        run(home, _fail_at("prototypes"))
    fill_store(home / "store", normals=8, defects=0, seed=2)
    assert run(home).result == "promoted"
    fill_store(home / "store", normals=8, defects=0, seed=3)
    outcome = run(home)
    assert outcome.result == "refused"
    assert "the same file as the incumbent" in outcome.why
    assert outcome.run is not None
    assert (outcome.run / "gate" / "gate.json").is_file()
    assert len(past_runs(home / "runs")) == 3
    assert len(registered(home)) == 1


def test_no_promote_stops_after_the_gate_and_the_next_call_goes_on(home: Path) -> None:
    assert run(home, no_promote=True).result == "stopped"
    assert registered(home) == []
    assert run(home).result == "promoted"
    assert len(past_runs(home / "runs")) == 1


def _fail_at(stage: str):  # noqa: ANN202
    def reached(name: str, _: StageEvent) -> None:
        if name == stage:
            raise OSError(28, "No space left on device")

    return reached
