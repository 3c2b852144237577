"""Pictures for people: contact sheets of judged parts, and the histogram behind a threshold."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import PictureError
from engines.manifest import write_atomic
from trainer.results.evaluation import Judged

CAPTION = 20  # height of the line under a row, pixels
TRUTH = (60, 220, 60)
_FOUND = (255, 40, 40)
_INK = (30, 30, 30)
_BARS = 40
_PLOT = (240, 480)  # height, width in pixels
_MARGIN = 30


def contact_sheet(
    judged: Judged, which: Sequence[int], threshold: float, pixel_threshold: float
) -> NDArray[np.uint8]:
    """Draw one row for each of `which`: picture, map, outlines of the true and the found mask.

    Returns: uint8 [H, W, 3] RGB.
    """
    return np.concatenate([_row(judged, index, threshold, pixel_threshold) for index in which])


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


def save_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write uint8 [H, W, 3] RGB as PNG or JPEG by the suffix of `path`, atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    done, encoded = cv2.imencode(path.suffix, cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))
    if not done:
        raise PictureError(f"{path}: does not encode")
    write_atomic(path, encoded.tobytes())


def _row(judged: Judged, index: int, threshold: float, pixel_threshold: float) -> NDArray[np.uint8]:
    picture = judged.pictures.pixels[index]
    sample = judged.pictures.samples[index]
    score = float(judged.scores[index])
    outlined = picture.copy()
    mask = judged.masks[index]
    if mask is not None:
        outline(outlined, mask, TRUTH)
    outline(outlined, judged.maps[index] > pixel_threshold, _FOUND)
    heat = _heat(picture, judged.maps[index], pixel_threshold)
    drawn = np.concatenate([picture, heat, outlined], axis=1)
    caption = np.full((CAPTION, drawn.shape[1], 3), 255, np.uint8)
    decision = "NG" if score > threshold else "OK"
    write_text(
        caption, f"{sample.name}: {score:.3f} {decision}; threshold {threshold:.3f}", (4, 14)
    )
    return np.concatenate([drawn, caption])


def _heat(
    picture: NDArray[np.uint8], anomaly_map: NDArray[np.float32], pixel_threshold: float
) -> NDArray[np.uint8]:
    """Lay the map over the picture; the pixel threshold is in the middle of the colours."""
    level = np.clip(anomaly_map / max(2 * pixel_threshold, 1e-6), 0, 1)
    colours = cv2.applyColorMap((255 * level).astype(np.uint8), cv2.COLORMAP_JET)
    mixed = cv2.addWeighted(picture, 0.5, cv2.cvtColor(colours, cv2.COLOR_BGR2RGB), 0.5, 0)
    return np.asarray(mixed, np.uint8)


def outline(
    picture: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]
) -> None:
    """Draw the outer outline of a mask onto a picture, in place."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1)


def write_text(picture: NDArray[np.uint8], text: str, place: tuple[int, int]) -> None:
    """Write dark letters onto a picture, in place; `place` is the lower left (x, y)."""
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42, _INK, 1, cv2.LINE_AA)
