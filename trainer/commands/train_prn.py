"""`trainer-train --model prn|prn-s`: from flags to a run folder."""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import cv2
import torch

from engines.commandline.terminal import Terminal
from trainer.anomalies.synthesis import AnomalyKinds
from trainer.choices import BATCH_SIZES, LEARNING_RATES, PrnSize
from trainer.commands.data_folder import print_json, read_folder
from trainer.errors import DatasetError
from trainer.networks.backbones import load_backbone
from trainer.networks.prn import NetworkParts
from trainer.progress import TerminalSteps
from trainer.prototypes.whole_maps import CPU
from trainer.results.drawing import save_picture
from trainer.results.report import common_lines, seconds_line, zone_lines
from trainer.results.sheets import (
    SHEET_NAME,
    LossCurve,
    draw_curves,
    score_histogram,
    write_examples,
)
from trainer.settings import LearnSettings, TrainSettings
from trainer.training.device import Precision, find_device, kept_precision
from trainer.training.fit import StepReport
from trainer.training.prn.data import SupervisedRecipe
from trainer.training.prn.training import TrainedPrn, engine_path, learn_prn, write_prn
from trainer.training.protoad import set_determinism
from trainer.training.schedule import Budget
from trainer.training.training_step import OptimizerConfig
from trainer.zones import open_zones


def train_prn(settings: TrainSettings, plan: Literal["prn", "prn-s"]) -> None:
    """Train, and write the engine file and the pictures for a person."""
    console = Terminal(stderr=settings.as_json)
    set_determinism(settings.seed)
    cv2.setNumThreads(1)  # batches are made while training runs, which needs the cores
    dataset = read_folder(settings.data, settings, console)
    if settings.as_json:
        print_json({"files": dataset.files.as_json()})
    backbone = load_backbone(settings.backbone, settings.weights)
    settings.out.mkdir(parents=True, exist_ok=True)
    device = find_device(settings.device)
    size = (settings.size, settings.size)
    zones = open_zones(settings.zones, settings.zones_camera, settings.zones_product, size)
    recipe = replace(prn_recipe(settings, plan, device), zones=zones)
    losses = LossCurve()
    with TerminalSteps(console) as steps:
        show = steps.training()

        def on_step(step: StepReport) -> None:
            losses.add(step)
            show(step.done, step.end, f"loss {losses.curve[-1][1]:.4f}", step.seconds_left)

        learned = learn_prn(
            dataset, backbone, recipe, settings.out, steps, on_step, device, settings.weights
        )
        write_prn(settings.out, dataset, learned, recipe, steps)
        histogram = score_histogram(learned.held_out_scores, learned.thresholds.image)
        save_picture(settings.out / "held_out_scores.png", histogram)
        save_picture(settings.out / "losses.png", draw_curves(losses.curve, learned.fitted.checks))
        if learned.rest.test:
            write_examples(engine_path(settings.out, plan), learned.rest, steps, zones)
    how = f"{device}, {recipe.method.precision}"
    for line in _lines(settings, plan, learned, how):
        console.print(line, soft_wrap=True)
    for line in zone_lines(zones, learned.thresholds):
        console.print(line, soft_wrap=True)
    console.print(seconds_line(steps.seconds), soft_wrap=True)


def prn_recipe(
    settings: LearnSettings, plan: PrnSize, device: torch.device = CPU
) -> SupervisedRecipe:
    """Make the recipe from the flags.

    Raises:
        DatasetError: a size that does not fit.
    """
    if settings.size % 32:
        raise DatasetError(f"--size {settings.size}: {plan} needs a multiple of 32")
    off = set(settings.without)
    budget = Budget(settings.minutes, "minutes")
    if settings.steps is not None:
        budget = Budget(settings.steps, "steps")
    return SupervisedRecipe(
        plan=plan,
        backbone=settings.backbone,
        size=(settings.size, settings.size),
        seed=settings.seed,
        seen=settings.seen,
        leave_out=tuple(sorted(settings.leave_out)),
        parts=NetworkParts(
            prototypes="mp" not in off,
            fusion="mf" not in off,
            attention="msa" not in off,
            residual_map="rm" not in off,
        ),
        anomalies=AnomalyKinds(
            extended="ea" not in off,
            heterologous="hea" not in off,
            homologous="hoa" not in off,
            transparent="ta" not in off,
            certainty=settings.simulated_certainty,
        ),
        textures=settings.textures,
        batch_size=settings.batch_size or BATCH_SIZES[plan],
        method=OptimizerConfig(
            optimiser=settings.optimiser,
            learning_rate=LEARNING_RATES[plan],
            leave_one_out="loo" not in off,
            precision=_precision(settings, device),
            shards=2 if device.type == "cpu" else 1,
        ),
        budget=budget,
        false_reject_rate=settings.false_reject_rate,
        max_normals=settings.max_normals,
        prototype_share=settings.prototype_share,
    )


def _precision(settings: LearnSettings, device: torch.device) -> Precision:
    if settings.precision != "auto":
        return settings.precision
    return "bf16" if device.type == "cuda" else kept_precision(settings.out, time.monotonic)


def _lines(settings: TrainSettings, plan: PrnSize, learned: TrainedPrn, how: str) -> Iterator[str]:
    training_data, fitted = learned.training_data, learned.fitted
    unreadable = (*learned.rest.unreadable, *training_data.pictures.unreadable)
    yield from common_lines(
        learned.rest.name,
        len(training_data.learned),
        len(training_data.held),
        unreadable,
        (*learned.rest.notes, *training_data.pictures.notes, *training_data.notes),
    )
    seen = ", ".join(sample.name for sample in training_data.samples) or "none"
    yield f"defects learned from: {seen}"
    why = ", stopped by the held-out pictures" if fitted.stopped_early else ""
    yield f"{fitted.steps} of {fitted.planned} steps{why}, {how}"
    if plan == "prn":
        start = "ImageNet weights" if learned.pretrained_bottom else "random weights: no layer4"
        yield f"bottleneck started from {start}"
    yield f"image threshold {learned.thresholds.image:.4f}, pixel {learned.thresholds.pixel:.4f}"
    yield learned.thresholds.method
    yield (
        f"wrote {engine_path(settings.out, plan)}, its manifest, seen.json, the checkpoint, "
        f"losses.png, held_out_scores.png, {SHEET_NAME}"
    )
