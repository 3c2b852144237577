"""The stages that make a candidate: prototypes, fit, calibrate, export, build, admit."""

import json
import math
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from engines.admission.admit import admit
from engines.conversion.tensorrt import PlanOptions, build_plan
from engines.files import write_atomic
from engines.manifest import Thresholds
from engines.pictures.read import PICTURE_SUFFIXES
from engines.registry.registry import Registry
from engines.trial_frames import TrialPictures
from trainer.dataset import Dataset
from trainer.errors import BudgetError
from trainer.results.drawing import save_picture
from trainer.results.sheets import write_examples
from trainer.retrain.incumbent import Incumbent, find_start
from trainer.retrain.learner import Learner, Task
from trainer.retrain.options import Dependencies
from trainer.retrain.prn_learner import PrnLearner
from trainer.retrain.protoad_learner import ProtoAdLearner
from trainer.retrain.prototype_diff import compare, draw_moves, read_prototypes
from trainer.retrain.prototype_diff import say as diff_said
from trainer.retrain.run import STAGES, Outcome, RunFolder, Stages, past_runs, recipe_values
from trainer.retrain.weights import StartWeights, read_start
from trainer.retrain_settings import RetrainSettings
from trainer.samples.store import SampleStore
from trainer.training.device import find_device
from trainer.training.prn.training import CHECKPOINT_NAME

DIFF_NAME = "prototypes.json"
_START_NAME = "start.safetensors"
_ADMITTED_ON = 32  # golden pictures
LEAST_FIT_S = 20.0
# what stages after the training take, seconds, until a run has measured it
_GUESSED_S = {"calibrate": 10.0, "export": 45.0, "build": 1.0, "admit": 45.0, "gate": 20.0}
AFTER_FIT = ("calibrate", "export", "build", "admit", "gate", "register", "promote", "announce")


def is_training_begun(run: RunFolder) -> bool:
    """Return whether a run has a training that a kill would cost."""
    return (run.folder / CHECKPOINT_NAME).is_file() or run.outcome("fit") is not None


class Candidate:
    """What a run makes, up to an engine that was admitted on this machine."""

    def __init__(
        self,
        settings: RetrainSettings,
        registry: Registry,
        stages: Stages,
        incumbent: Incumbent | None,
        dependencies: Dependencies,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._stages = stages
        self._incumbent = incumbent
        self._dependencies = dependencies
        self._folder = stages.run.folder

    def make(self) -> str:
        """Do all stages; gives why the engine may not judge, or nothing."""
        do = self._stages.do
        do("prototypes", self._make_prototypes)
        do("fit", self._fit)
        do("calibrate", self._calibrate)
        do("export", self._export)
        do("build", self._build)
        admitted = do("admit", self._admit)
        return "" if admitted["admitted"] else f"not admitted: {'; '.join(admitted['reasons'])}"

    @property
    def engine(self) -> Path:
        """The engine file that would serve."""
        name: str = self._found("build")["engine"]
        return self._folder / name

    @cached_property
    def learner(self) -> Learner:
        """Whatever makes this kind of network; made once in a process, where a stage needs it."""
        settings = self._settings
        task = Task(
            self._dataset(), self._folder, self._dependencies.steps, settings, self._start()
        )
        if self._dependencies.learner is not None:
            return self._dependencies.learner(task)
        if settings.model == "protoad":
            return ProtoAdLearner(task)
        return PrnLearner(task, settings.model, find_device(settings.device))

    def _start(self) -> StartWeights | None:
        """Return the head to begin from, kept in the run: a later promotion must not change it."""
        kept = self._folder / _START_NAME
        if not kept.is_file() and self._stages.run.outcome("prototypes") is None:
            settings = self._settings
            found, why = find_start(self._incumbent, self._registry, settings, settings.runs)
            self._stages.say(f"{settings.model} {why}")
            if found is not None:
                write_atomic(kept, found.read_bytes())
        return read_start(kept) if kept.is_file() else None

    def extra_files(self) -> list[Path]:
        """What goes into the registry beside the engine, where it is there."""
        made = [self._folder / DIFF_NAME, self._folder / "run.json", *self.learner.extra_files()]
        return [path for path in made if path.is_file()]

    def _dataset(self) -> Dataset:
        with SampleStore.look(self._settings.store) as store:
            return store.training(self._stages.run.description.snapshot)

    def _make_prototypes(self) -> Outcome:
        made = self.learner.make_prototypes()
        old = read_prototypes(self._incumbent.engine) if self._incumbent else ()
        diffs = compare(old, made)
        content = [diff.model_dump() for diff in diffs]
        write_atomic(self._folder / DIFF_NAME, json.dumps(content, indent=1).encode())
        save_picture(self._folder / "prototypes.png", draw_moves(diffs))
        dataset = self._dataset()
        return {
            "said": diff_said(diffs),
            "of_normals": len(dataset.normals),
            "unreadable": list(dataset.unreadable),
        }

    def _fit(self) -> Outcome:
        settings, seconds = self._settings, 0.0
        if settings.model != "protoad" and not settings.prototypes_only:
            seconds = self._seconds_to_fit()
        facts = self.learner.fit(seconds, self._stages.note_worked)
        said = (
            f"{facts['steps']} of {facts['planned']} steps, began from {facts['began_from']}"
            if facts["trained"]
            else facts["why"]
        )
        return {**facts, "said": said}

    def _seconds_to_fit(self) -> float:
        if self._settings.steps is not None:
            return math.inf
        begun = is_training_begun(self._stages.run)
        worked_s, measured = self._stages.worked_s, self._measured()
        return fit_seconds(self._settings.minutes, worked_s, measured, begun=begun)

    def _calibrate(self) -> Outcome:
        thresholds = self.learner.calibrate()
        said = f"image threshold {thresholds.image:.4f}, {thresholds.method}"
        return {"thresholds": thresholds.model_dump(), "said": said}

    def _export(self) -> Outcome:
        thresholds = Thresholds.model_validate(self._found("calibrate")["thresholds"])
        engine = self.learner.export(thresholds)
        with SampleStore.look(self._settings.store) as store:
            golden = store.golden()
        if golden.test:
            write_examples(engine, golden, self._dependencies.steps)
        return {"engine": self._relative(engine), "said": self._relative(engine)}

    def _build(self) -> Outcome:
        source = self._folder / self._found("export")["engine"]
        backend = self._settings.plan
        if backend is None:
            said = "none: the ONNX file serves as it is"
            return {"engine": self._relative(source), "said": said}
        plan = source.with_suffix(".plan")
        with self._dependencies.steps.step(f"building a plan for {backend}", None):
            build_plan(source, plan, PlanOptions(backend=backend))
        return {"engine": self._relative(plan), "said": self._relative(plan)}

    def _admit(self) -> Outcome:
        golden = self._settings.store / "golden"
        pictures = golden.rglob("*") if golden.is_dir() else ()
        there = any(path.suffix.lower() in PICTURE_SUFFIXES for path in pictures)
        with self._dependencies.steps.step("admitting on this machine", None):
            report = admit(self.engine, TrialPictures(golden, _ADMITTED_ON) if there else None)
        said = f"{'admitted' if report.admitted else 'REFUSED'} on {report.machine}"
        return {"admitted": report.admitted, "reasons": report.reasons, "said": said}

    def _measured(self) -> dict[str, float]:
        """Seconds of each stage in the last run that finished with these settings but minutes."""
        wanted = self._comparable(recipe_values(self._settings))
        for run in past_runs(self._settings.runs):
            if run.finished and self._comparable(run.description.settings) == wanted:
                found = {name: run.outcome(name) for name in STAGES}
                return {
                    name: each["seconds"]
                    for name, each in found.items()
                    if each and "seconds" in each
                }
        return {}

    @staticmethod
    def _comparable(settings: Mapping[str, object]) -> tuple[object, ...]:
        return tuple(settings.get(name) for name in ("model", "backbone", "size", "plan"))

    def _found(self, stage: str) -> Outcome:
        outcome = self._stages.run.outcome(stage)
        assert outcome is not None  # noqa: S101  # stages are done in order
        return outcome

    def _relative(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def fit_seconds(
    minutes: float, worked_s: float, measured: Mapping[str, float], *, begun: bool = False
) -> float:
    """Seconds to train: what is left of `minutes` but for the stages that come after.

    Args:
        minutes: of the whole run.
        worked_s: seconds spent so far.
        measured: seconds of stages in an earlier run, by name.
        begun: whether a training is there to go on with: in no time it cools down and ends.

    Raises:
        BudgetError: too little is left to begin.
    """
    after = sum(measured.get(name, _GUESSED_S.get(name, 5.0)) for name in AFTER_FIT)
    left = max(0.0, 60 * minutes - worked_s - after)
    if left < LEAST_FIT_S and not begun:
        raise BudgetError(
            f"--minutes {minutes:g} leaves {left:.0f} s to train: {worked_s:.0f} s are "
            f"spent and {after:.0f} s are needed afterwards; give more minutes, or "
            "--prototypes-only, which trains nothing"
        )
    return left
