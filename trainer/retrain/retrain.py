"""A retrain from the day's labels to a promoted engine, or to a report that says why not."""

import time
from contextlib import ExitStack
from datetime import UTC, datetime

from engines.registry.registry import Registry
from trainer.retrain.candidate import Candidate, is_training_begun
from trainer.retrain.collect import Collected, collect
from trainer.retrain.incumbent import Incumbent, fetch_incumbent
from trainer.retrain.options import Dependencies, RetrainResult
from trainer.retrain.promotion import Promotion, is_outdated
from trainer.retrain.run import (
    Finished,
    RunDescription,
    RunFolder,
    Stages,
    exclusive_run,
    past_runs,
    recipe_values,
)
from trainer.retrain_settings import RetrainSettings
from trainer.samples.snapshots import SnapshotRecord
from trainer.samples.store import SampleStore


def retrain(
    settings: RetrainSettings, registry: Registry, dependencies: Dependencies
) -> RetrainResult:
    """Do one retrain, or go on with one that was killed.

    Raises:
        RetrainBusyError: another one is at work with the same runs.
        StageError: a disk is full or a file unreadable; the next call goes on from there.
        RegistryError: the registry is away or refuses; the next call goes on.
        TrainerError, EngineError, PipelineError: this stage cannot be done as asked.
    """
    started = time.monotonic()
    with exclusive_run(settings.runs):
        with ExitStack() as opened:
            store = opened.enter_context(SampleStore.open(settings.store))
            collected = collect(store, settings, dependencies)
            dependencies.say(f"collect: {collected.said()}")
            dependencies.reached("collect", "worked")
            if settings.collect_only:
                return RetrainResult(
                    "stopped", f"{collected.said()}; --collect-only asks for no more"
                )
            snapshot = store.snapshot()
            dependencies.reached("snapshot", "worked")
        incumbent = fetch_incumbent(registry, settings.runs)
        found = _run_of(settings, snapshot, incumbent, dependencies)
        if isinstance(found, RetrainResult):
            return found
        _keep_first(found, collected, snapshot)
        dependencies.reached("snapshot", "kept")
        stages = _stages(found, dependencies, started)
        return _finished(settings, registry, stages, incumbent, dependencies)


def find_unfinished(settings: RetrainSettings) -> RunFolder | None:
    """Find the last run if it was cut short after its training began; it goes before a new one."""
    last = past_runs(settings.runs)[:1]
    if not last or is_done(last[0], settings) or not is_training_begun(last[0]):
        return None
    return last[0] if last[0].description.settings == recipe_values(settings) else None


def is_done(run: RunFolder, settings: RetrainSettings) -> bool:
    """Whether a run went as far as it is asked to: with `--no-promote` not beyond the gate."""
    gate = run.outcome("gate")
    passed = gate is not None and gate["promoted"]
    return run.finished is not None or (passed and settings.no_promote)


def _run_of(
    settings: RetrainSettings,
    snapshot: SnapshotRecord,
    incumbent: Incumbent | None,
    dependencies: Dependencies,
) -> RunFolder | RetrainResult:
    """Find the run to go on with, begin a new one, or say that there is nothing new."""
    recipe = recipe_values(settings)
    if (last := find_unfinished(settings)) is not None:
        came = (
            ""
            if last.description.snapshot == snapshot.sha256
            else "; what came since is for the next"
        )
        dependencies.say(f"going on with {last.name}{came}")
        return last
    for run in past_runs(settings.runs):
        if (run.description.snapshot, run.description.settings) != (snapshot.sha256, recipe):
            continue
        if _is_worth_another_gate(run, settings):
            run.reopen()
        if run.finished is None:
            dependencies.say(f"going on with {run.name}")
            return run
        if settings.again:
            break
        why = (
            f"training may see the same pictures as in {run.name}, which was {run.finished.result} "
            f"({run.finished.why}); --again tries once more"
        )
        return RetrainResult("nothing new", why, run.folder, run.finished.version)
    description = RunDescription(
        snapshot=snapshot.sha256,
        normals=snapshot.normals,
        defects=snapshot.defects,
        settings=recipe,
        incumbent=incumbent.name if incumbent else None,
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    run = RunFolder.begin(settings.runs, description)
    dependencies.say(
        f"new run {run.name}: {snapshot.normals} normal pictures, {snapshot.defects} defects"
    )
    return run


def _is_worth_another_gate(run: RunFolder, settings: RetrainSettings) -> bool:
    """Return whether a gate refused it that would judge otherwise now."""
    gate = run.outcome("gate")
    return gate is not None and not gate["promoted"] and is_outdated(gate, settings)


def _keep_first(run: RunFolder, collected: Collected, snapshot: SnapshotRecord) -> None:
    """Note what was done before there was a folder to note it in."""
    if run.outcome("collect") is None:
        names = ("labels", "new", "changed", "recorded", "kept", "held")
        run.keep("collect", {name: getattr(collected, name) for name in names})
    if run.outcome("snapshot") is None:
        run.keep("snapshot", {"sha256": snapshot.sha256, "normals": snapshot.normals})


def _stages(run: RunFolder, dependencies: Dependencies, started: float) -> Stages:
    def say(text: str) -> None:
        run.log(text)
        dependencies.say(text)

    return Stages(run, say, dependencies.reached, started)


def _finished(
    settings: RetrainSettings,
    registry: Registry,
    stages: Stages,
    incumbent: Incumbent | None,
    dependencies: Dependencies,
) -> RetrainResult:
    """Do all stages that are left."""
    run = stages.run
    candidate = Candidate(settings, registry, stages, incumbent, dependencies)
    promotion = Promotion(settings, registry, stages, candidate, dependencies)
    promotion.forget_old_gate(incumbent)
    if why := candidate.make():
        return _end(run, stages, RetrainResult("refused", why, run.folder))
    gate = promotion.gate(incumbent)
    if not gate["promoted"]:
        return _end(run, stages, RetrainResult("refused", gate["why"], run.folder))
    if settings.no_promote:
        why = f"{gate['why']}; not promoted, as --no-promote asks: run again without it"
        return RetrainResult("stopped", why, run.folder)
    version = promotion.promote()
    return _end(run, stages, RetrainResult("promoted", gate["why"], run.folder, version))


def _end(run: RunFolder, stages: Stages, outcome: RetrainResult) -> RetrainResult:
    result = "promoted" if outcome.result == "promoted" else "refused"
    finished = Finished(
        result=result, why=outcome.why, version=outcome.version, seconds=round(stages.worked_s, 3)
    )
    run.finish(finished)
    run.log(f"{outcome.result}: {outcome.why}")
    return outcome
