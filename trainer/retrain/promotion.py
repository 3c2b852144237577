"""The stages that put a candidate in force: gate, register, promote, announce."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from engines.errors import Overtaken
from engines.manifest import read_manifest, write_manifest
from engines.registry.records import MAX_EXTRA_BYTES
from engines.registry.registry import Registry
from pipeline.errors import PipelineError
from trainer.dataset import Dataset, Sample
from trainer.errors import StageError
from trainer.retrain.candidate import Candidate
from trainer.retrain.disagreements import PAGE_NAME
from trainer.retrain.gate import Conditions, pass_gate
from trainer.retrain.gate_report import REPORT_NAME, GateReport
from trainer.retrain.incumbent import Incumbent
from trainer.retrain.options import Dependencies
from trainer.retrain.run import Outcome, Stages
from trainer.retrain_settings import RetrainSettings
from trainer.samples.store import SampleStore
from trainer.seen import unseen

_GATE = "gate"  # the folder in the run


class Promotion:
    """Decides on a candidate, and registers and promotes it if it passes the gate."""

    def __init__(
        self,
        settings: RetrainSettings,
        registry: Registry,
        stages: Stages,
        candidate: Candidate,
        dependencies: Dependencies,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._stages = stages
        self._candidate = candidate
        self._dependencies = dependencies
        self._run = stages.run

    def forget_old_gate(self, incumbent: Incumbent | None) -> None:
        """Forget a gate whose conditions have changed since, unless its candidate is in force."""
        gate, registered = self._run.outcome("gate"), self._run.outcome("register")
        now = incumbent.name if incumbent else None
        if gate is None or (registered and now == registered["version"]):
            return
        if now != gate["incumbent"] or is_outdated(gate, self._settings):
            self._run.forget_from("gate")

    def gate(self, incumbent: Incumbent | None) -> Outcome:
        """Compare the candidate with the incumbent."""
        return self._stages.do("gate", lambda: self._weigh(incumbent))

    def promote(self) -> str:
        """Register, promote and announce the candidate; returns the version's name."""
        version: str = self._stages.do("register", self._register)["version"]
        self._stages.do("promote", lambda: self._promote(version))
        self._stages.do("announce", self._announce)
        return version

    def _weigh(self, incumbent: Incumbent | None) -> Outcome:
        golden = _golden(self._settings)
        conditions = Conditions(allow_ungated=self._settings.allow_ungated)
        baseline = incumbent.engine if incumbent else None
        folder = self._run.folder / _GATE
        engine = self._candidate.engine
        # a first engine may have been trained on pictures that are golden here
        judged = unseen(golden, [each for each in (engine, baseline) if each is not None]).test
        report = pass_gate(engine, baseline, judged, conditions, folder, self._dependencies.steps)
        _write_golden(engine, report)
        why = "; ".join(report.reasons)
        passed = "PASSED" if report.promoted else "REFUSED"
        return {
            "promoted": report.promoted,
            "why": why,
            "incumbent": incumbent.name if incumbent else None,
            "golden": _named(golden.test),
            "allow_ungated": conditions.allow_ungated,
            "said": f"{passed}: {why}; see {folder / PAGE_NAME}",
        }

    def _register(self) -> Outcome:
        gate = self._run.folder / _GATE
        files = [gate / REPORT_NAME, gate / PAGE_NAME, *self._candidate.extra_files()]
        extra = {path.name: path.read_bytes() for path in files if _fits(path)}
        left = [path.name for path in files if path.name not in extra]
        version = self._registry.register(self._candidate.engine, extra)
        said = version.name + (f", without {', '.join(left)}: too large" if left else "")
        return {"version": version.name, "left": left, "said": said}

    def _promote(self, version: str) -> Outcome:
        gate = self._run.outcome("gate")
        assert gate is not None  # noqa: S101  # the previous stage
        rival, by = gate["incumbent"], f"trainer-retrain {self._run.name}"
        try:
            pointer = self._registry.promote(version, by, expected=(rival,))
        except Overtaken as error:
            raise StageError(
                f"another version was promoted while this run compared {version}: {error}; nothing "
                "was changed, the next trainer-retrain compares again"
            ) from error
        return {"before": pointer.previous, "said": f"{version} is in force"}

    def _announce(self) -> Outcome:
        """Notify the lines; a line that does not answer finds the promotion by itself."""
        heard: dict[str, str] = {}
        for line in self._settings.line:
            try:
                heard[line] = f"{self._dependencies.announce(line)} workers"
            except PipelineError as error:
                heard[line] = f"not notified ({error}): its workers check the registry themselves"
        said = ", ".join(f"{line}: {what}" for line, what in heard.items()) or "no line to notify"
        return {"lines": heard, "said": said}


def is_outdated(gate: Outcome, settings: RetrainSettings) -> bool:
    """Return whether the golden pictures or the gate's rules have changed since that gate."""
    then = gate.get("golden"), gate.get("allow_ungated")
    return then != (_named(_golden(settings).test), settings.allow_ungated)


def _golden(settings: RetrainSettings) -> Dataset:
    with SampleStore.look(settings.store) as store:
        return store.golden()


def _named(golden: Sequence[Sample]) -> str:
    """Hash the golden pictures, their labels and groups; picture and mask names are hashes."""
    said = [
        f"{each.name}\0{each.mask.name if each.mask else ''}{each.group and chr(0) + each.group}\n"
        for each in golden
    ]
    return hashlib.sha256("".join(sorted(said)).encode()).hexdigest()


def _write_golden(engine: Path, report: GateReport) -> None:
    """Write the candidate's figures into its manifest."""
    figures = {
        each.name: each.candidate
        for each in report.figures
        if each.candidate is not None and each.unit == "%"
    }
    manifest = read_manifest(engine)
    write_manifest(engine, manifest.model_copy(update={"golden": figures}))


def _fits(path: Path) -> bool:
    return path.is_file() and path.stat().st_size <= MAX_EXTRA_BYTES
