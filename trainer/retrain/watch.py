"""Retrain whenever enough is new: looked at every so often, until it is interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import EngineError
from engines.registry.registry import Registry
from pipeline.errors import PipelineError
from trainer.errors import RetrainBusyError, TrainerError
from trainer.retrain.collect import collect
from trainer.retrain.options import Dependencies, RetrainResult
from trainer.retrain.retrain import find_unfinished, is_done, retrain
from trainer.retrain.run import RunFolder, exclusive_run, past_runs
from trainer.retrain_settings import RetrainSettings
from trainer.samples.records import SampleStatus
from trainer.samples.snapshots import read_snapshot
from trainer.samples.store import SampleStore


@dataclass(frozen=True, slots=True)
class NewLabels:
    """What training has not seen yet."""

    normals: int
    defects: int

    def are_enough(self, settings: RetrainSettings) -> bool:
        """Return whether it is worth a retrain."""
        return self.normals >= settings.new_normals or self.defects >= settings.new_defects


def watch(
    settings: RetrainSettings,
    registry: Registry,
    dependencies: Dependencies,
    wait: Callable[[float], None] = time.sleep,
    rounds: int | None = None,
) -> None:
    """Look as often as asked; what goes wrong is said, and tried again at the next look.

    `rounds` ends it after so many looks.
    """
    done = 0
    while rounds is None or done < rounds:
        done += 1
        try:
            _look(settings, registry, dependencies)
        except RetrainBusyError:
            raise  # two that watch the same runs are a mistake
        except (TrainerError, EngineError, PipelineError, OSError) as error:
            dependencies.say(f"will try again in {settings.every_s:g} s: {error}")
        wait(settings.every_s)


def _look(
    settings: RetrainSettings, registry: Registry, dependencies: Dependencies
) -> RetrainResult | None:
    new_labels = count_new_labels(settings, dependencies)
    dependencies.say(
        f"{new_labels.normals} of {settings.new_normals} new normal pictures, "
        f"{new_labels.defects} of {settings.new_defects} new defects"
    )
    if find_unfinished(settings) is None and not new_labels.are_enough(settings):
        return None
    outcome = retrain(settings, registry, dependencies)
    dependencies.say(f"{outcome.result}: {outcome.why}")
    return outcome


def count_new_labels(settings: RetrainSettings, dependencies: Dependencies) -> NewLabels:
    """Collect, and count what the last run that is done has not seen."""
    with exclusive_run(settings.runs), SampleStore.open(settings.store) as store:
        collect(store, settings, dependencies)
        known = _seen_by(store, [run for run in past_runs(settings.runs) if is_done(run, settings)])
        new = [
            picture
            for picture in store.pictures(SampleStatus.KEPT)
            if not picture.golden and (picture.sha, picture.kind) not in known
        ]
    normals = sum(picture.normal for picture in new)
    return NewLabels(normals, len(new) - normals)


def _seen_by(store: SampleStore, runs: list[RunFolder]) -> set[tuple[str, str]]:
    """Hash and kind of what the last of the runs learned from."""
    if not runs:
        return set()
    record = read_snapshot(store.folder, runs[0].description.snapshot)
    return {(seen.sha, seen.kind) for seen in record.pictures}
