"""What the gate saw, for people: the figures, and where the engines disagree most."""

import base64
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.commandline.pages import render_page
from engines.files import write_atomic
from trainer.results.sheets import contact_sheet
from trainer.retrain.comparison import EngineAnswers
from trainer.retrain.gate_report import GateReport, MetricComparison

PAGE_NAME = "gate.html"
_SHOWN = 12
_ROW_WIDTH = 660  # pixels, of one engine's picture, map and outlines
_QUALITY = 85
_GAP = 12  # pixels between the two


def write_page(
    folder: Path, report: GateReport, candidate: EngineAnswers, incumbent: EngineAnswers | None
) -> None:
    """Write gate.html into `folder`, one file with the pictures in it."""
    page = render_page(
        "trainer.retrain",
        PAGE_NAME,
        title="Gate: " + ("promoted" if report.promoted else "refused"),
        standing="unproven" if report.promoted and report.ungated else report.decision,
        report=report,
        figures=[(figure, figure_cells(figure)) for figure in report.figures],
        pictures=list(_figures(candidate, incumbent)),
    )
    write_atomic(folder / PAGE_NAME, page)


def worst_first(candidate: EngineAnswers, incumbent: EngineAnswers | None) -> NDArray[np.intp]:
    """Order pictures: decided differently first, then by how far apart the scores are.

    Scores of two engines are on two scales: each is taken from its threshold, in spreads of its own
    scores. Without an incumbent: wrongly decided first, then nearest to the threshold.
    """
    place = _from_threshold(candidate)
    if incumbent is None:
        wrong = candidate.rejected != candidate.defective
        return np.lexsort((np.abs(place), ~wrong))
    differs = candidate.rejected != incumbent.rejected
    apart = np.abs(place - _from_threshold(incumbent))
    return np.lexsort((-apart, ~differs))


def _from_threshold(answers: EngineAnswers) -> NDArray[np.float64]:
    scores = answers.scored.scores.astype(np.float64)
    return np.asarray((scores - answers.threshold) / max(float(scores.std()), 1e-9))


def _figures(
    candidate: EngineAnswers, incumbent: EngineAnswers | None
) -> Iterator[tuple[str, str]]:
    """Caption and picture of the worst ones, as data URLs."""
    for index in worst_first(candidate, incumbent)[:_SHOWN]:
        sides = [each for each in (incumbent, candidate) if each is not None]
        rows = [_row(each, int(index)) for each in sides]
        height = max(len(row) for row in rows)
        padded = [
            cv2.copyMakeBorder(
                row, 0, height - len(row), 0, _GAP, cv2.BORDER_CONSTANT, value=(255, 255, 255)
            )
            for row in rows
        ]
        yield _caption(candidate, incumbent, int(index)), _data_url(np.concatenate(padded, axis=1))


def _row(answers: EngineAnswers, index: int) -> NDArray[np.uint8]:
    sheet = contact_sheet(answers.scored, [index], answers.threshold, answers.pixel_threshold)
    height = round(len(sheet) * _ROW_WIDTH / sheet.shape[1])
    return np.asarray(cv2.resize(sheet, (_ROW_WIDTH, height), interpolation=cv2.INTER_AREA))


def _caption(candidate: EngineAnswers, incumbent: EngineAnswers | None, index: int) -> str:
    sample = candidate.scored.pictures.samples[index]
    says = [f"candidate {_decision(candidate, index)}"]
    if incumbent is not None:
        says.insert(0, f"incumbent {_decision(incumbent, index)}")
    return f"{sample.name} ({sample.kind}): {', '.join(says)}"


def _decision(answers: EngineAnswers, index: int) -> str:
    right = bool(answers.rejected[index]) == bool(answers.defective[index])
    return f"{'NG' if answers.rejected[index] else 'OK'}, {'right' if right else 'WRONG'}"


def _data_url(pixels: NDArray[np.uint8]) -> str:
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    return "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode()


def figure_cells(figure: MetricComparison) -> tuple[str, str, str, str]:
    """Word a figure: incumbent, candidate, difference, interval."""
    scale, form = (100, "{:.2f} %") if figure.unit == "%" else (1, "{:.2f} ms")
    signed = form.replace(":", ":+")

    def word(value: float | None, how: str) -> str:
        return "-" if value is None else how.format(scale * value)

    span = "-"
    if figure.low is not None and figure.high is not None:
        how = form if figure.difference is None else signed
        span = f"{word(figure.low, how)} to {word(figure.high, how)}"
    return (
        word(figure.incumbent, form),
        word(figure.candidate, form),
        word(figure.difference, signed),
        span,
    )
