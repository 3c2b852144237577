"""Pictures for people: sheets of judged parts, of training anomalies, curves, histograms."""

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.open import open_engine
from engines.zones.draw import draw_zones
from trainer.anomalies.synthesis import AnomalyKinds, Synthesis, SyntheticBatch
from trainer.anomalies.textures import Textures
from trainer.dataset import Dataset, load_pictures
from trainer.progress import Steps
from trainer.results.drawing import CAPTION, TRUTH, outline, save_picture, write_caption, write_text
from trainer.results.evaluation import ScoredPictures, score_pictures
from trainer.results.within_zones import within_zones
from trainer.seen import SeenPictures
from trainer.training.checkpoint import ValidationLoss
from trainer.training.fit import StepReport
from trainer.zones import PictureZones

_FOUND = (255, 40, 40)
_BARS = 40
_PLOT = (240, 480)  # height, width in pixels
_MARGIN = 30
Pixels = NDArray[np.uint8]
_KINDS = {
    "EA, extended": AnomalyKinds(heterologous=False, homologous=False),
    "HEA, foreign texture": AnomalyKinds(extended=False, homologous=False),
    "HOA, own texture": AnomalyKinds(extended=False, heterologous=False),
}
_CURVE_HEIGHT, _CURVE_WIDTH, _CURVE_MARGIN = 300, 640, 40  # pixels
_TRAINING, _HELD = (150, 170, 200), (220, 60, 40)
_SMOOTHING = 0.95  # of the running mean, from step to step
Curve = list[tuple[int, float]]  # step, loss above 0
SHEET_NAME = "examples.jpg"
_SHOWN_OF_KIND = 3


def contact_sheet(
    scored: ScoredPictures, which: Sequence[int], threshold: float, pixel_threshold: float
) -> NDArray[np.uint8]:
    """Draw one row for each of `which`: picture, map, outlines of the true and the found mask.

    Returns: uint8 [H, W, 3] RGB.
    """
    return np.concatenate([_row(scored, index, threshold, pixel_threshold) for index in which])


def score_histogram(scores: NDArray[np.floating], threshold: float) -> NDArray[np.uint8]:
    """Draw how many of the scores lie where, and the threshold; uint8 [H, W, 3] RGB."""
    height, width = _PLOT
    low, high = float(min(scores.min(), threshold)), float(max(scores.max(), threshold))
    span = max(high - low, 1e-3 * max(abs(high), 1.0))
    counts, _ = np.histogram(scores, bins=_BARS, range=(low, low + span))
    sheet = np.full((height + 2 * _MARGIN, width + 2 * _MARGIN, 3), 255, np.uint8)
    for bar, count in enumerate(counts):
        left = _MARGIN + bar * width // _BARS
        top = _MARGIN + height - round(height * count / counts.max())
        right = _MARGIN + (bar + 1) * width // _BARS - 2
        cv2.rectangle(sheet, (left, top), (right, _MARGIN + height), (90, 130, 200), cv2.FILLED)
    line = _MARGIN + round(width * (threshold - low) / span)
    cv2.line(sheet, (line, _MARGIN), (line, _MARGIN + height), _FOUND, 2)
    text = f"{len(scores)} held-out normals, score {low:.3f} to {high:.3f}; red: threshold"
    write_text(sheet, f"{text} {threshold:.3f}", (_MARGIN, _MARGIN + height + 20))
    return sheet


def _row(
    scored: ScoredPictures, index: int, threshold: float, pixel_threshold: float
) -> NDArray[np.uint8]:
    picture = scored.pictures.pixels[index]
    sample = scored.pictures.samples[index]
    score = float(scored.scores[index])
    outlined = picture.copy()
    mask = scored.masks[index]
    if mask is not None:
        outline(outlined, mask, TRUTH)
    limit: float | NDArray[np.float32] = pixel_threshold
    if scored.zones is not None:
        limit = scored.zones.pixels.pixel_limit(pixel_threshold)
        draw_zones(outlined, scored.zones.zones, scored.zones.camera)
    outline(outlined, scored.maps[index] > limit, _FOUND)
    heat = _heat(picture, scored.maps[index], pixel_threshold)
    drawn = np.concatenate([picture, heat, outlined], axis=1)
    caption = np.full((CAPTION, drawn.shape[1], 3), 255, np.uint8)
    decision = "NG" if score > threshold else "OK"
    figures = f": {score:.3f} {decision}; threshold {threshold:.3f}"
    write_caption(caption, sample.name, figures)
    return np.concatenate([drawn, caption])


def _heat(
    picture: NDArray[np.uint8], anomaly_map: NDArray[np.float32], pixel_threshold: float
) -> NDArray[np.uint8]:
    """Lay the map over the picture; the pixel threshold is in the middle of the colours."""
    level = np.clip(anomaly_map / max(2 * pixel_threshold, 1e-6), 0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_JET)
    mixed = cv2.addWeighted(picture, 0.5, cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), 0.5, 0)
    return np.asarray(mixed, np.uint8)


def draw_anomalies(
    normals: Pixels, seen: SeenPictures, textures: Textures, rows: int, seed: int
) -> Pixels:
    """Draw `rows` normal pictures and as many anomalies of each kind, plain and outlined.

    Args:
        normals: uint8 [N, H, W, 3].
        seen: defects to extend; without any there is no column for them.
        textures: source of foreign textures.
        rows: examples of each kind.
        seed: of every random choice.

    Returns: uint8 [H, W, 3] RGB.
    """
    columns: list[Pixels] = []
    for name, kinds in _KINDS.items():
        if kinds.extended and not seen.masks.any():
            continue
        size = 4 * -(-rows // 2)
        synthesis = Synthesis(normals, seen, textures, kinds, size, seed)
        batch = synthesis.batch(0)
        if not columns:
            columns.append(_column("normal", batch.frames[:rows]))
        columns += _anomalies(name, batch, rows)
    return np.concatenate(columns, axis=1)


def _anomalies(name: str, batch: SyntheticBatch, rows: int) -> list[Pixels]:
    first = len(batch.frames) // 2
    shown = slice(first, first + rows)
    outlined = batch.frames[shown].copy()
    for picture, mask in zip(outlined, batch.masks[shown], strict=True):
        outline(picture, mask > 0, TRUTH)
    return [_column(name, batch.frames[shown]), _column("what changed", outlined)]


def _column(name: str, pictures: Pixels) -> Pixels:
    heading = np.full((CAPTION, pictures.shape[2], 3), 255, np.uint8)
    write_text(heading, name, (4, 14))
    return np.concatenate([heading, *pictures])


class LossCurve:
    """The training loss of every step, smoothed."""

    def __init__(self) -> None:
        self.curve: Curve = []

    def add(self, step: StepReport) -> None:
        """Note a step."""
        before = self.curve[-1][1] if self.curve else step.loss
        self.curve.append((step.done, _SMOOTHING * before + (1 - _SMOOTHING) * step.loss))


def draw_curves(training: Curve, checks: Sequence[ValidationLoss]) -> NDArray[np.uint8]:
    """Draw both curves on one logarithmic axis; uint8 [H, W, 3] RGB."""
    held = [(check.step, check.loss) for check in checks]
    sheet = np.full(
        (_CURVE_HEIGHT + 2 * _CURVE_MARGIN, _CURVE_WIDTH + 2 * _CURVE_MARGIN, 3), 255, np.uint8
    )
    both = [*training, *held]
    if not both:
        write_text(
            sheet, "no step was done since this process began", (_CURVE_MARGIN, _CURVE_MARGIN)
        )
        return sheet
    logs = [_log(loss) for _, loss in both]
    low = min(logs)
    high = max(*logs, low + 1e-6)
    last = max(step for step, _ in both)
    for curve, colour in ((training, _TRAINING), (held, _HELD)):
        points = [
            (
                _CURVE_MARGIN + round(_CURVE_WIDTH * step / last),
                _CURVE_MARGIN + round(_CURVE_HEIGHT * (high - _log(loss)) / (high - low)),
            )
            for step, loss in curve
        ]
        cv2.polylines(
            sheet, [np.array(points, np.int32)], isClosed=False, color=colour, thickness=2
        )
    span = f"loss {10**high:.2g} to {10**low:.2g}, {last} steps"
    text = f"{span}; blue: training, smoothed; red: held out"
    write_text(sheet, text, (_CURVE_MARGIN, _CURVE_MARGIN + _CURVE_HEIGHT + 25))
    return sheet


def _log(loss: float) -> float:
    return math.log10(max(loss, 1e-12))


def write_examples(
    engine: Path, dataset: Dataset, steps: Steps, zones: PictureZones | None = None
) -> None:
    """Show the first test pictures of each kind, judged by an engine file, beside that file."""
    shown: dict[str, int] = {}
    samples = []
    for sample in dataset.test:
        shown[sample.kind] = shown.get(sample.kind, 0) + 1
        if shown[sample.kind] <= _SHOWN_OF_KIND:
            samples.append(sample)
    with open_engine(engine) as opened, steps.step("drawing examples", len(samples)) as advance:
        thresholds = opened.manifest.thresholds
        scored = score_pictures(
            opened.engine, load_pictures(samples, opened.engine.input_size), advance
        )
    threshold = thresholds.image
    if zones is not None and (peak := opened.manifest.peak_threshold) is not None:
        scored, threshold = within_zones(scored, zones), peak
    which = range(len(scored.scores))
    sheet = contact_sheet(scored, which, threshold, thresholds.pixel)
    save_picture(engine.with_name(SHEET_NAME), sheet)
