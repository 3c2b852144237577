"""Retrain whenever enough is new: looked at every so often, until it is interrupted."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from engines.errors import EngineError
from engines.registry.registry import Registry
from pipeline.errors import PipelineError
from trainer.errors import RetrainBusyError, TrainerError
from trainer.retrain.collect import collect
from trainer.retrain.options import Ending, Seams
from trainer.retrain.retrain import is_done, left_behind, retrain
from trainer.retrain.run import RunFolder, only_one, past_runs
from trainer.retrain_settings import RetrainSettings
from trainer.samples.records import Place
from trainer.samples.snapshots import read_snapshot
from trainer.samples.store import SampleStore


@dataclass(frozen=True, slots=True)
class News:
    """What training has not seen yet."""

    normals: int
    defects: int

    def are_enough(self, settings: RetrainSettings) -> bool:
        """Whether it is worth a retrain."""
        return self.normals >= settings.new_normals or self.defects >= settings.new_defects


def watch(
    settings: RetrainSettings,
    registry: Registry,
    seams: Seams,
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
            _look(settings, registry, seams)
        except RetrainBusyError:
            raise  # two that watch the same runs are a mistake
        except (TrainerError, EngineError, PipelineError, OSError) as error:
            seams.say(f"will try again in {settings.every_s:g} s: {error}")
        wait(settings.every_s)


def _look(settings: RetrainSettings, registry: Registry, seams: Seams) -> Ending | None:
    news = count_news(settings, seams)
    seams.say(
        f"{news.normals} of {settings.new_normals} new normal pictures, {news.defects} of "
        f"{settings.new_defects} new defects"
    )
    if left_behind(settings) is None and not news.are_enough(settings):
        return None
    ending = retrain(settings, registry, seams)
    seams.say(f"{ending.result}: {ending.why}")
    return ending


def count_news(settings: RetrainSettings, seams: Seams) -> News:
    """Collect, and count what the last run that is done has not seen."""
    with only_one(settings.runs), SampleStore.open(settings.store) as store:
        collect(store, settings, seams)
        known = _seen_by(store, [run for run in past_runs(settings.runs) if is_done(run, settings)])
        new = [
            picture
            for picture in store.pictures(Place.KEPT)
            if not picture.golden and (picture.sha, picture.kind) not in known
        ]
    normals = sum(picture.normal for picture in new)
    return News(normals, len(new) - normals)


def _seen_by(store: SampleStore, runs: list[RunFolder]) -> set[tuple[str, str]]:
    """Hash and kind of what the last of the runs learned from."""
    if not runs:
        return set()
    record = read_snapshot(store.folder, runs[0].about.snapshot)
    return {(seen.sha, seen.kind) for seen in record.pictures}
