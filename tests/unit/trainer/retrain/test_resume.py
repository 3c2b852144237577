"""A retrain without torch's work that is cut short, in this process: what the next call does."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import retrain as retrain_fakes
from fakes.registry import make_engine
from fakes.retrain import PlainLearner, fill_store, run
from rich.console import Console

from engines.pictures.read import read_picture
from engines.registry.registry import Registry
from trainer.dataset import GOOD
from trainer.errors import StageError
from trainer.progress import TerminalSteps
from trainer.retrain.gate_report import GateReport
from trainer.retrain.learner import Facts
from trainer.retrain.options import Dependencies
from trainer.retrain.run import RunFolder, StageEvent, past_runs
from trainer.retrain.watch import watch
from trainer.samples.records import LabelSource, SampleStatus
from trainer.samples.store import SampleStore
from trainer.seen import SEEN_NAME, seen_record, write_seen
from trainer.training.prn.training import CHECKPOINT_NAME


class Cut(BaseException):
    """Ends a retrain as a kill does: nothing handles it."""


def cut_at(stage: str, point: StageEvent) -> Callable[[str, StageEvent], None]:
    def reached(name: str, at: StageEvent) -> None:
        if (name, at) == (stage, point):
            raise Cut

    return reached


def only_run(home: Path) -> RunFolder:
    (found,) = past_runs(home / "runs")
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    fill_store(tmp_path / "store")
    return tmp_path


def test_forgetting_that_is_cut_leaves_no_stage_without_those_before_it(home: Path) -> None:
    run(home)
    done = only_run(home)
    stuck = done.folder / "stages" / "register.json"
    stuck.unlink()
    stuck.mkdir()  # what no unlink removes
    with pytest.raises(OSError, match=r"register\.json"):
        done.forget_from("gate")
    assert [done.outcome(name) is not None for name in ("gate", "promote", "announce")] == [
        True,
        False,
        False,
    ]


def promote_another(home: Path, name: str) -> str:
    """Put an engine into force as a person does by hand."""
    registry = Registry(str(home / "registry"))
    version = registry.register(make_engine(home / name, salt=len(name))).name
    registry.promote(version, "anna")
    return version


def test_promotion_in_between_is_respected_and_the_next_call_weighs_against_it(home: Path) -> None:
    other = ""

    def reached(name: str, at: StageEvent) -> None:
        nonlocal other
        if (name, at) == ("register", "kept"):
            other = promote_another(home, "hand")

    with pytest.raises(StageError, match="nothing was changed, the next trainer-retrain"):
        run(home, reached)
    pointer = Registry(str(home / "registry")).pointer()
    assert pointer is not None
    assert pointer.promoted == other
    run(home)
    gate = only_run(home).outcome("gate")
    assert gate is not None
    assert gate["incumbent"] == other


def call_golden_defects_good(home: Path) -> None:
    with SampleStore.open(home / "store") as store:
        for each in store.pictures(SampleStatus.KEPT):
            if each.golden and not each.normal:
                store.add(read_picture(store.path(each)), GOOD, None, LabelSource("corrected"))
        for each in store.pictures(SampleStatus.INCOMING):
            store.keep(each.sha)


def gate_report(home: Path) -> GateReport:
    return GateReport.model_validate_json(
        (only_run(home).folder / "gate" / "gate.json").read_bytes()
    )


def test_gate_leaves_out_what_the_engine_in_force_learned_elsewhere(home: Path) -> None:
    with SampleStore.open(home / "store") as store:
        golden = [each for each in store.pictures(SampleStatus.KEPT) if each.golden]
        known = next(each.sha for each in golden if each.normal)
    first = make_engine(home / "first", salt=3)
    write_seen(first.parent, seen_record("elsewhere", 1, (), (), [known]))
    registry = Registry(str(home / "registry"))
    seen = {SEEN_NAME: (first.parent / SEEN_NAME).read_bytes()}
    registry.promote(registry.register(first, seen).name, "anna")
    run(home)
    normals = sum(each.normal for each in golden)
    assert gate_report(home).normals == normals - 1


def test_gate_is_passed_again_where_the_golden_pictures_changed_since(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("gate", "kept"))
    assert gate_report(home).defects > 0
    call_golden_defects_good(home)
    run(home)
    assert gate_report(home).defects == 0


def test_gate_that_let_unproven_pass_is_passed_again_where_that_is_no_longer_allowed(
    home: Path,
) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("gate", "kept"))
    outcome = run(home, allow_ungated=False)
    assert outcome.result == "refused"
    assert "too few golden pictures" in outcome.why


def test_refused_run_passes_the_gate_again_as_the_refusal_advised(home: Path) -> None:
    refused = run(home, allow_ungated=False)
    assert (refused.result, "--allow-ungated" in refused.why) == ("refused", True)
    assert run(home, allow_ungated=False).result == "nothing new"
    assert run(home).result == "promoted"
    assert "fit: already done" in (home / "said.txt").read_text("utf-8")
    assert only_run(home).finished is not None


def test_refused_run_passes_the_gate_again_when_golden_pictures_came(home: Path) -> None:
    run(home, allow_ungated=False)
    call_golden_defects_good(home)
    assert run(home, allow_ungated=False).result == "refused"
    assert gate_report(home).defects == 0


def test_promoted_run_that_is_in_force_is_not_weighed_against_itself(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("promote", "kept"))
    call_golden_defects_good(home)
    assert run(home).result == "promoted"


def test_run_that_was_cut_is_finished_before_new_pictures_begin_another(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("fit", "kept"))
    fill_store(home / "store", normals=3, defects=0, seed=9)
    assert run(home).result == "promoted"
    assert only_run(home).finished is not None
    assert "newer labels are left for the next run" in (home / "said.txt").read_text("utf-8")
    run(home)
    assert len(past_runs(home / "runs")) == 2


def test_run_that_was_cut_before_its_training_is_left_for_the_new_pictures(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("prototypes", "kept"))
    fill_store(home / "store", normals=3, defects=0, seed=9)
    assert run(home).result == "promoted"
    assert [each.finished is None for each in past_runs(home / "runs")] == [False, True]


def watched(home: Path, looks: int, **changed: object) -> None:
    """Watch, while one picture comes in before each next look."""
    enough = {"new_normals": 20, "new_defects": 15, "every_s": 1}
    given, came = retrain_fakes.options(home, **enough, **changed), iter(range(20, 20 + looks))

    def wait(_: float) -> None:
        fill_store(home / "store", normals=1, defects=0, seed=next(came))

    with TerminalSteps(Console(quiet=True)) as steps:
        dependencies = Dependencies(steps, lambda _: None, lambda _: 1, learner=PlainLearner)
        watch(given, Registry(given.registry), dependencies, wait, rounds=looks)


def test_watch_that_does_not_promote_waits_until_enough_is_new(home: Path) -> None:
    assert run(home, no_promote=True).result == "stopped"
    watched(home, 3, no_promote=True)
    assert only_run(home).finished is None


def test_watch_finishes_a_run_that_was_cut_and_then_waits_until_enough_is_new(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, cut_at("fit", "kept"))
    fill_store(home / "store", normals=1, defects=0, seed=9)
    watched(home, 2)
    assert only_run(home).finished is not None


def test_minutes_are_of_the_whole_run_collecting_included(home: Path) -> None:
    times: list[float] = []

    def reached(name: str, at: StageEvent) -> None:
        if (name, at) in {("collect", "worked"), ("announce", "kept")}:
            times.append(time.monotonic())
            time.sleep(0.05)

    run(home, reached)
    finished = only_run(home).finished
    assert finished is not None
    assert finished.seconds > times[1] - times[0]


class CutLate(PlainLearner):
    """Is cut 5 seconds before its time is over; then it goes on from its checkpoint."""

    def fit(self, seconds: float, worked: Callable[[], None]) -> Facts:
        checkpoint = self._task.folder / CHECKPOINT_NAME
        if checkpoint.is_file():
            return super().fit(seconds, worked)
        checkpoint.write_bytes(b"begun")
        RunFolder(self._task.folder).note_worked(seconds - 5)
        raise Cut


def test_run_that_is_cut_late_in_its_training_ends_all_the_same(home: Path) -> None:
    with pytest.raises(Cut):
        run(home, minutes=30, learner=CutLate)
    assert run(home, minutes=30, learner=CutLate).result == "promoted"
    fitted = only_run(home).outcome("fit")
    assert fitted is not None
    assert float(fitted["began_from"].removesuffix(" s")) <= 5
