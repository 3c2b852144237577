"""The commands of this room: trainer-train, -evaluate, -anomalies, -reproduce."""

import sys
from dataclasses import replace

import numpy as np
from rich.console import Console

from engines.command import run_command
from engines.engine import Engine
from engines.errors import EngineError
from engines.open import open_engine
from trainer.anomalies.sheet import draw_anomalies
from trainer.anomalies.textures import open_textures
from trainer.dataset import GOOD, Dataset, Sample, load_pictures
from trainer.errors import DatasetError, TrainerError
from trainer.layouts import find_samples
from trainer.networks.backbones import load_backbone
from trainer.progress import TerminalSteps
from trainer.reproduce.command import reproduce as reproduce_table
from trainer.results.calibrate import Costs
from trainer.results.evaluation import (
    Judged,
    ThresholdCosts,
    evaluation_json,
    judge,
    weigh_thresholds,
)
from trainer.results.evaluation import evaluate as figures_of
from trainer.results.examples import write_examples
from trainer.results.report import cost_lines, evaluation_tables, seen_lines, training_lines
from trainer.results.sheets import contact_sheet, save_picture, score_histogram
from trainer.seen import draw_seen, load_seen, load_seen_masks, read_seen, recognise, without
from trainer.settings import AnomaliesSettings, EvaluateSettings, ReproduceSettings, TrainSettings
from trainer.training.learning import (
    ENGINE_NAME,
    Recipe,
    drawn,
    learn,
    set_determinism,
    write_learned,
)
from trainer.training.train_prn import train_prn

_EXPECTED = (EngineError, TrainerError)


def train() -> None:
    """Run trainer-train."""
    run_command("trainer-train", TrainSettings, _train, _EXPECTED)


def evaluate() -> None:
    """Run trainer-evaluate."""
    run_command("trainer-evaluate", EvaluateSettings, _evaluate, _EXPECTED)


def anomalies() -> None:
    """Run trainer-anomalies."""
    run_command("trainer-anomalies", AnomaliesSettings, _anomalies, _EXPECTED)


def reproduce() -> None:
    """Run trainer-reproduce."""
    run_command("trainer-reproduce", ReproduceSettings, reproduce_table, _EXPECTED)


def _train(settings: TrainSettings) -> None:
    if settings.model == "protoad":
        _train_protoad(settings)
    else:
        train_prn(settings, settings.model)


def _train_protoad(settings: TrainSettings) -> None:
    console = Console(highlight=False)
    set_determinism(settings.seed)
    dataset = find_samples(settings.data)
    backbone = load_backbone(settings.backbone, settings.weights)
    settings.out.mkdir(parents=True, exist_ok=True)
    recipe = _recipe(settings)
    with TerminalSteps(console) as steps:
        learned = learn(dataset, backbone, recipe, steps)
        write_learned(settings.out, dataset.name, learned, recipe, settings.backbone, steps)
        histogram = score_histogram(learned.held_out_scores, learned.thresholds.image)
        save_picture(settings.out / "held_out_scores.png", histogram)
        if dataset.test:
            write_examples(settings.out / ENGINE_NAME, dataset, steps)
    for line in training_lines(dataset, learned, settings.out, steps.seconds):
        console.print(line, soft_wrap=True, markup=False)


def _recipe(settings: TrainSettings) -> Recipe:
    return Recipe(
        size=(settings.size, settings.size),
        seed=settings.seed,
        false_reject_rate=settings.false_reject_rate,
        held_out_share=settings.held_out_share,
        max_normals=settings.max_normals,
    )


def _evaluate(settings: EvaluateSettings) -> None:
    console = Console(highlight=False, stderr=settings.as_json)
    dataset, seen = _unseen(settings, find_samples(settings.data), console)
    if not dataset.test:
        raise DatasetError(f"{settings.data} holds no test pictures")
    with (
        open_engine(settings.engine, settings.backend, settings.device) as opened,
        TerminalSteps(console) as steps,
    ):
        judged = _judged(opened.engine, dataset, steps)
        seen_masks = load_seen_masks(seen, opened.engine.input_size)
    thresholds = opened.manifest.thresholds
    evaluation = figures_of(judged, thresholds.image, thresholds.pixel, seen_masks)
    if settings.out:
        _write_worst(settings, judged, thresholds.image, thresholds.pixel)
    costs = _costs(settings, judged, thresholds.image)
    if settings.as_json:
        sys.stdout.write(evaluation_json(evaluation, costs))
        return
    for renderable in (*evaluation_tables(evaluation), *cost_lines(costs)):
        console.print(renderable, soft_wrap=True)


def _costs(settings: EvaluateSettings, judged: Judged, threshold: float) -> ThresholdCosts | None:
    if settings.escape_cost is None:
        return None
    costs = Costs(settings.escape_cost, settings.false_reject_cost, settings.defect_share)
    return weigh_thresholds(judged, threshold, costs)


def _anomalies(settings: AnomaliesSettings) -> None:
    console = Console(highlight=False)
    size = (settings.size, settings.size)
    dataset = find_samples(settings.data)
    seen, _ = draw_seen(dataset, settings.seen, settings.seed)
    normals = drawn(dataset.normals, settings.max_normals, settings.seed)
    with TerminalSteps(console) as steps:
        with steps.step("reading pictures", len(normals)) as advance:
            pictures = load_pictures(normals, size, lambda: advance(1))
        with steps.step("drawing textures", None):
            textures = open_textures(settings.textures, size, settings.seed)
        with steps.step("drawing anomalies", None):
            regions = load_seen(seen, size)
            sheet = draw_anomalies(pictures.pixels, regions, textures, settings.rows, settings.seed)
    save_picture(settings.out, sheet)
    names = ", ".join(sample.name for sample in seen) or "no defects with a mask: none are extended"
    console.print(f"wrote {settings.out}; seen: {names}", soft_wrap=True, markup=False)


def _unseen(
    settings: EvaluateSettings, dataset: Dataset, console: Console
) -> tuple[Dataset, tuple[Sample, ...]]:
    """Take the defects that the engine learned from out of the dataset, and say so."""
    record = None if settings.with_seen else read_seen(settings.engine.parent)
    if record is None:
        return dataset, ()
    seen = recognise(dataset, record)
    for line in seen_lines(record, len(seen)):
        console.print(line, soft_wrap=True, markup=False)
    return without(dataset, [sample.name for sample in seen]), seen


def _judged(engine: Engine, dataset: Dataset, steps: TerminalSteps) -> Judged:
    with steps.step("reading pictures", len(dataset.test)) as advance:
        pictures = load_pictures(dataset.test, engine.input_size, lambda: advance(1))
    unreadable = (*dataset.unreadable, *pictures.unreadable)
    with steps.step("judging", len(pictures.samples)) as advance:
        return judge(engine, replace(pictures, unreadable=unreadable), advance)


def _write_worst(
    settings: EvaluateSettings, judged: Judged, threshold: float, pixel_threshold: float
) -> None:
    """Draw the normal parts with the highest scores and the defects with the lowest."""
    assert settings.out is not None  # noqa: S101  # the caller looked
    order = np.argsort(judged.scores, kind="stable")
    kinds = [judged.pictures.samples[index].kind for index in order]
    normal = [int(index) for index, kind in zip(order, kinds, strict=True) if kind == GOOD]
    defective = [int(index) for index, kind in zip(order, kinds, strict=True) if kind != GOOD]
    sheets = {
        "normal_highest.jpg": normal[::-1][: settings.worst],
        "defects_lowest.jpg": defective[: settings.worst],
    }
    for name, which in sheets.items():
        if which:
            sheet = contact_sheet(judged, which, threshold, pixel_threshold)
            save_picture(settings.out / name, sheet)
