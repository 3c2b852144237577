"""The gate: an engine takes the incumbent's place only if it proves better on golden pictures."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from engines.files import write_atomic
from engines.manifest import read_manifest
from engines.open import Backend, OpenedEngine, open_engine
from trainer.dataset import Sample, load_pictures
from trainer.errors import DatasetError
from trainer.groups import fingerprints, picture_keys
from trainer.progress import Steps
from trainer.results.evaluation import score_pictures
from trainer.retrain.comparison import (
    LEAST_DEFECTS,
    LEAST_NORMALS,
    EngineAnswers,
    Rules,
    check_first_engine,
    compare,
    decide_promotion,
    same_answers,
)
from trainer.retrain.disagreements import write_page
from trainer.retrain.gate_report import (
    REPORT_NAME,
    ComparedEngine,
    GateDecision,
    GateReport,
    MetricComparison,
)
from trainer.retrain.latency import Turns, time_turns

_HASH = re.compile(r"[0-9a-f]{64}")
_SHOWN = 12  # characters of a hash


@dataclass(frozen=True, slots=True)
class Conditions:
    """Where both engines run, and what the gate accepts."""

    backend: Backend = "auto"
    device: str = "auto"
    allow_ungated: bool = False  # accept too few golden pictures to prove anything
    rules: Rules = field(default_factory=Rules)


@dataclass(frozen=True, slots=True)
class _Ruling:
    decision: GateDecision
    reasons: tuple[str, ...]
    figures: tuple[MetricComparison, ...]
    ungated: bool = False


@dataclass(frozen=True, slots=True)
class _Pair:
    """Both engines' answers; only the candidate's if it has no incumbent or is the same file."""

    candidate: EngineAnswers
    incumbent: EngineAnswers | None
    turns: Turns | None


def pass_gate(
    candidate: Path,
    incumbent: Path | None,
    golden: Sequence[Sample],
    conditions: Conditions,
    folder: Path,
    steps: Steps,
) -> GateReport:
    """Compare two engine files, and write gate.json and a page for people into `folder`.

    Args:
        candidate: the engine file to be promoted.
        incumbent: the engine file in force; None if there is none yet.
        golden: pictures that neither engine learned from.
        conditions: of the comparison.
        folder: gets the report, whatever the decision.
        steps: shows the progress.

    Raises:
        EngineError: an engine does not open, or fails.
        DatasetError: no golden picture is readable.
    """
    if not golden:
        raise DatasetError(
            "no golden picture to judge by: import pictures of good parts and of defects into the "
            "sample store, a fifth of them becomes golden"
        )
    both = _scored_pair(candidate, incumbent, golden, conditions, steps)
    with steps.step("resampling golden pictures", None):
        ruling = _ruling(both, conditions, same_file=_is_same_file(candidate, incumbent))
    report = _report(both, ruling, (candidate, incumbent), conditions)
    folder.mkdir(parents=True, exist_ok=True)
    write_page(folder, report, both.candidate, both.incumbent)
    write_atomic(folder / REPORT_NAME, (report.model_dump_json(indent=2) + "\n").encode())
    return report


def _is_same_file(candidate: Path, incumbent: Path | None) -> bool:
    if incumbent is None:
        return False
    ours, theirs = read_manifest(candidate), read_manifest(incumbent)
    return ours.sha256 == theirs.sha256 and ours.thresholds == theirs.thresholds


def _scored_pair(
    candidate: Path,
    incumbent: Path | None,
    golden: Sequence[Sample],
    conditions: Conditions,
    steps: Steps,
) -> _Pair:
    with open_engine(candidate, conditions.backend, conditions.device) as opened:
        ours = _answers("candidate", opened, golden, steps)
        if incumbent is None:
            return _Pair(ours, None, None)
        with open_engine(incumbent, conditions.backend, conditions.device) as rival:
            theirs = _answers("incumbent", rival, golden, steps)
            with steps.step("timing both in turns", None):
                turns = time_turns(rival.engine, opened.engine)
    return _Pair(ours, theirs, turns)


def _answers(
    name: str, opened: OpenedEngine, golden: Sequence[Sample], steps: Steps
) -> EngineAnswers:
    with steps.step(f"{name} judges golden pictures", len(golden)) as advance:
        named = [replace(sample, name=_short(sample.name)) for sample in golden]
        pictures = load_pictures(named, opened.engine.input_size)
        scored = score_pictures(opened.engine, pictures, advance)
    if opened.manifest.zones is not None:
        raise DatasetError(
            f"the {name} was trained with zones, but the gate compares whole pictures: use "
            "trainer-evaluate --zones instead"
        )
    limits = opened.manifest.thresholds
    keys = picture_keys(pictures.samples, fingerprints(pictures.pixels), pictures.shas)
    return EngineAnswers(scored, limits.image, limits.pixel, keys)


def _short(name: str) -> str:
    """Shorten a hash, as the sample store names pictures, so that a person can compare it."""
    path = PurePosixPath(name)
    return str(path.with_stem(path.stem[:_SHOWN])) if _HASH.fullmatch(path.stem) else name


def _ruling(both: _Pair, conditions: Conditions, *, same_file: bool) -> _Ruling:
    figures = compare(both.incumbent, both.candidate, both.turns, conditions.rules)

    def refuse(why: str) -> _Ruling:
        return _Ruling("refuse", (why,), figures)

    if same_file:
        return refuse("the candidate is the same file as the incumbent: nothing to gain")
    if both.incumbent is not None and same_answers(both.incumbent, both.candidate):
        return refuse("the candidate answers every golden picture as the incumbent does")
    few = _too_few(both.candidate)
    if few and conditions.allow_ungated:
        return _unproven(few, figures)
    if few:
        return refuse(f"{few}: label more parts, or promote it unproven with --allow-ungated")
    good, why = check_first_engine(figures) if both.incumbent is None else decide_promotion(figures)
    return _Ruling("promote", (why,), figures) if good else refuse(why)


def _too_few(answers: EngineAnswers) -> str:
    defects, normals = answers.groups
    if len(set(normals)) >= LEAST_NORMALS and len(set(defects)) >= LEAST_DEFECTS:
        return ""
    return (
        f"too few golden pictures to tell: {_in_groups(normals)} of good parts and "
        f"{_in_groups(defects)} of defects, at least {LEAST_NORMALS} and {LEAST_DEFECTS} are needed"
    )


def _in_groups(keys: Sequence[str]) -> str:
    groups = len(set(keys))
    return f"{len(keys)}" if groups == len(keys) else f"{len(keys)} in {groups} groups"


def _unproven(few: str, figures: tuple[MetricComparison, ...]) -> _Ruling:
    """Accept a candidate that is not measurably worse, as --allow-ungated requests."""
    worse = [each.name for each in figures if each.standing == "worse"]
    if worse:
        why = f"still worse than the incumbent beyond chance: {', '.join(worse)}"
        return _Ruling("refuse", (why, few), figures, ungated=True)
    why = "UNPROVEN, promoted because --allow-ungated says so"
    return _Ruling("promote", (why, few), figures, ungated=True)


def _report(
    both: _Pair,
    ruling: _Ruling,
    files: tuple[Path, Path | None],
    conditions: Conditions,
) -> GateReport:
    pictures, flags = both.candidate.scored.pictures, both.candidate.defective
    masks, rules = both.candidate.scored.masks, conditions.rules
    candidate, incumbent = files
    of_defects, of_normals = both.candidate.groups
    return GateReport(
        decision=ruling.decision,
        reasons=ruling.reasons,
        warnings=tuple(_warnings(both)),
        ungated=ruling.ungated,
        candidate=_compared_engine(candidate),
        incumbent=_compared_engine(incumbent) if incumbent else None,
        figures=ruling.figures,
        normals=int((~flags).sum()),
        defects=int(flags.sum()),
        normal_groups=len(set(of_normals)),
        defect_groups=len(set(of_defects)),
        without_mask=sum(mask is None for mask in masks),
        unreadable=pictures.unreadable,
        confidence=rules.confidence,
        draws=rules.draws,
        seed=rules.seed,
        slack=rules.slack,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _warnings(both: _Pair) -> list[str]:
    said = []
    pictures = both.candidate.scored.pictures
    if pictures.unreadable:
        said.append(f"{len(pictures.unreadable)} golden pictures are unreadable and left out")
    if both.incumbent and both.incumbent.scored.maps.shape != both.candidate.scored.maps.shape:
        said.append("the engines see pictures of different sizes, each judged at its own")
    return said


def _compared_engine(path: Path) -> ComparedEngine:
    manifest = read_manifest(path)
    return ComparedEngine(
        file=path.name,
        model=manifest.model,
        version=manifest.version,
        sha256=manifest.sha256,
        threshold=manifest.thresholds.image,
        pixel_threshold=manifest.thresholds.pixel,
    )
