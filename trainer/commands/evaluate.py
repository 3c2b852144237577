"""`trainer-evaluate`: judge labelled pictures with an engine file and print how good it is."""

import sys
from dataclasses import replace

import numpy as np
from rich.console import Console

from engines.commandline.terminal import Terminal
from engines.engine import Engine
from engines.open import OpenedEngine, open_engine
from trainer.commands.data_folder import read_folder
from trainer.dataset import GOOD, Dataset, Sample, load_pictures
from trainer.errors import DatasetError
from trainer.export.calibrate import Costs
from trainer.progress import TerminalSteps
from trainer.results.drawing import save_picture
from trainer.results.evaluation import (
    ScoredPictures,
    ThresholdCosts,
    check_promise,
    evaluation_json,
    score_pictures,
    weigh_thresholds,
)
from trainer.results.evaluation import evaluate as figures_of
from trainer.results.report import (
    cost_lines,
    evaluation_tables,
    promise_lines,
    seen_lines,
    zone_lines,
)
from trainer.results.sheets import contact_sheet
from trainer.results.within_zones import within_zones
from trainer.seen import load_seen, read_seen, recognise, related_to_learned, without
from trainer.settings import EvaluateSettings
from trainer.zones import PictureZones, open_zones, place_zones


def evaluate(settings: EvaluateSettings) -> None:
    """Judge the pictures and print the figures."""
    console = Terminal(stderr=settings.as_json)
    found = read_folder(settings.data, settings, console)
    dataset, seen = _unseen(settings, found, console)
    if not dataset.test:
        raise DatasetError(f"{settings.data} holds no test pictures")
    with (
        open_engine(settings.engine, settings.backend, settings.device) as opened,
        TerminalSteps(console) as steps,
    ):
        zones = _zones(settings, opened)
        scored = _scored(opened.engine, dataset, steps)
        seen_masks = load_seen(seen, opened.engine.input_size).masks
    thresholds = opened.manifest.thresholds
    threshold = thresholds.image
    if zones is not None:
        thresholds = thresholds.model_copy(update={"peak": opened.manifest.peak_threshold})
        threshold = _peak(settings, opened)
        scored = within_zones(scored, zones)
    evaluation = figures_of(scored, threshold, thresholds.pixel, seen_masks)
    if settings.out:
        _write_worst(settings, scored, threshold, thresholds.pixel)
    costs = _costs(settings, scored, threshold)
    promise = check_promise(scored, thresholds)
    if settings.as_json:
        sys.stdout.write(evaluation_json(evaluation, costs, found.files, promise))
        return
    for renderable in (
        *zone_lines(zones, thresholds),
        *evaluation_tables(evaluation),
        *promise_lines(promise),
        *cost_lines(costs),
    ):
        console.print(renderable, soft_wrap=True)


def _zones(settings: EvaluateSettings, opened: OpenedEngine) -> PictureZones | None:
    """Return the zones to judge by: the file's, or those that the engine was trained with."""
    learned, size = opened.manifest.zones, opened.engine.input_size
    if settings.zones is None and learned is not None:
        return place_zones(learned, settings.zones_camera, size)
    return open_zones(settings.zones, settings.zones_camera, settings.zones_product, size)


def _peak(settings: EvaluateSettings, opened: OpenedEngine) -> float:
    peak = opened.manifest.peak_threshold
    if peak is None:
        raise DatasetError(
            f"{settings.engine} has no peak threshold, which zones need: train it again"
        )
    return peak


def _costs(
    settings: EvaluateSettings, scored: ScoredPictures, threshold: float
) -> ThresholdCosts | None:
    if settings.escape_cost is None:
        return None
    costs = Costs(settings.escape_cost, settings.false_reject_cost, settings.defect_share)
    return weigh_thresholds(scored, threshold, costs)


def _unseen(
    settings: EvaluateSettings, dataset: Dataset, console: Console
) -> tuple[Dataset, tuple[Sample, ...]]:
    """Remove and report pictures that the engine learned from; also returns its seen defects."""
    record = None if settings.with_seen else read_seen(settings.engine.parent)
    if record is None:
        return dataset, ()
    seen = recognise(dataset, record)
    defects = tuple(sample for sample in seen if sample.kind != GOOD)
    related = related_to_learned(dataset, seen, record)
    for line in seen_lines(record, len(defects), len(seen) - len(defects), len(related)):
        console.print(line, soft_wrap=True)
    return without(dataset, [sample.name for sample in (*seen, *related)]), defects


def _scored(engine: Engine, dataset: Dataset, steps: TerminalSteps) -> ScoredPictures:
    with steps.step("reading pictures", len(dataset.test)) as advance:
        pictures = load_pictures(dataset.test, engine.input_size, lambda: advance(1))
    unreadable = (*dataset.unreadable, *pictures.unreadable)
    with steps.step("judging", len(pictures.samples)) as advance:
        pictures = replace(pictures, unreadable=unreadable, notes=(*dataset.notes, *pictures.notes))
        return score_pictures(engine, pictures, advance)


def _write_worst(
    settings: EvaluateSettings, scored: ScoredPictures, threshold: float, pixel_threshold: float
) -> None:
    """Draw the normal parts with the highest scores and the defects with the lowest."""
    assert settings.out is not None  # noqa: S101  # checked by the caller
    order = np.argsort(scored.scores, kind="stable")
    kinds = [scored.pictures.samples[index].kind for index in order]
    normal = [int(index) for index, kind in zip(order, kinds, strict=True) if kind == GOOD]
    defective = [int(index) for index, kind in zip(order, kinds, strict=True) if kind != GOOD]
    sheets = {
        "normal_highest.jpg": normal[::-1][: settings.worst],
        "defects_lowest.jpg": defective[: settings.worst],
    }
    for name, which in sheets.items():
        if which:
            sheet = contact_sheet(scored, which, threshold, pixel_threshold)
            save_picture(settings.out / name, sheet)
