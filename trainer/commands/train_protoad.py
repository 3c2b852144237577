"""`trainer-train --model protoad`: from flags to an engine file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from engines.commandline.terminal import Terminal
from trainer.commands.data_folder import print_json, read_folder
from trainer.dataset import Dataset
from trainer.networks.backbones import load_backbone
from trainer.progress import TerminalSteps
from trainer.results.drawing import save_picture
from trainer.results.report import common_lines, seconds_line, zone_lines
from trainer.results.sheets import score_histogram, write_examples
from trainer.settings import TrainSettings
from trainer.training.protoad import (
    ENGINE_NAME,
    ProtoAdRecipe,
    TrainedProtoAd,
    learn,
    set_determinism,
    write_learned,
)
from trainer.zones import PictureZones, open_zones


def train_protoad(settings: TrainSettings) -> None:
    """Learn, write the engine file and what a person wants to see of it."""
    console = Terminal(stderr=settings.as_json)
    set_determinism(settings.seed)
    dataset = read_folder(settings.data, settings, console)
    if settings.as_json:
        print_json({"files": dataset.files.as_json()})
    recipe = _recipe(settings)
    backbone = load_backbone(settings.backbone, settings.weights)
    settings.out.mkdir(parents=True, exist_ok=True)
    with TerminalSteps(console) as steps:
        learned = learn(dataset, backbone, recipe, steps)
        write_learned(settings.out, dataset.name, learned, recipe, settings.backbone, steps)
        histogram = score_histogram(learned.held_out_scores, learned.thresholds.image)
        save_picture(settings.out / "held_out_scores.png", histogram)
        if dataset.test:
            write_examples(settings.out / ENGINE_NAME, dataset, steps, recipe.zones)
    for line in _lines(dataset, learned, settings.out, steps.seconds, recipe.zones):
        console.print(line, soft_wrap=True)


def _recipe(settings: TrainSettings) -> ProtoAdRecipe:
    return ProtoAdRecipe(
        size=(settings.size, settings.size),
        seed=settings.seed,
        false_reject_rate=settings.false_reject_rate,
        held_out_share=settings.held_out_share,
        max_normals=settings.max_normals,
        zones=open_zones(
            settings.zones,
            settings.zones_camera,
            settings.zones_product,
            (settings.size, settings.size),
        ),
        clustering=settings.clustering,
    )


def _lines(
    dataset: Dataset,
    learned: TrainedProtoAd,
    out: Path,
    seconds: Mapping[str, float],
    zones: PictureZones | None,
) -> Iterator[str]:
    """Say what was learned, what it rests on and where it lies."""
    unreadable = (*dataset.unreadable, *learned.pictures.unreadable)
    held = len(learned.held_out_scores)
    notes = (*dataset.notes, *learned.pictures.notes, *learned.notes)
    yield from common_lines(dataset.name, learned.learned_from, held, unreadable, notes)
    yield f"image threshold {learned.thresholds.image:.4f}, pixel {learned.thresholds.pixel:.4f}"
    yield learned.thresholds.method
    yield from zone_lines(zones, learned.thresholds)
    yield f"wrote {out / ENGINE_NAME}, its manifest, seen.json, held_out_scores.png" + (
        " and examples.jpg" if dataset.test else ""
    )
    yield seconds_line(seconds)
