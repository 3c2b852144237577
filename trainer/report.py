"""What the commands say at the end, in words and tables."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.table import Table

from trainer.dataset import GOOD, Dataset
from trainer.evaluation import Evaluation
from trainer.learning import ENGINE_NAME, Learned
from trainer.metrics import KindCount

_FEW_NORMALS = 20
_NAMED_UNREADABLE = 10


def training_lines(
    dataset: Dataset, learned: Learned, out: Path, seconds: Mapping[str, float]
) -> Iterator[str]:
    """Say what was learned, what it rests on and where it lies."""
    held = len(learned.held_out_scores)
    yield from _unreadable_lines(learned.pictures.unreadable)
    yield f"learned from {learned.learned_from} normal pictures of {dataset.name}, {held} held out"
    if learned.learned_from < _FEW_NORMALS:
        yield (
            f"warning: {learned.learned_from} pictures show little of what normal parts look "
            "like: add more before trusting the verdicts"
        )
    yield f"image threshold {learned.thresholds.image:.4f}, pixel {learned.thresholds.pixel:.4f}"
    yield learned.thresholds.method
    yield f"wrote {out / ENGINE_NAME}, its manifest, held_out_scores.png" + (
        " and examples.jpg" if dataset.test else ""
    )
    steps = ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items())
    yield f"took {sum(seconds.values()):.1f} s: {steps}"


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table | str]:
    """Show the figures overall and what the threshold did to each kind."""
    yield from _unreadable_lines(evaluation.unreadable)
    yield _figures(evaluation)
    yield _kinds(evaluation)
    if evaluation.without_mask:
        yield f"{evaluation.without_mask} defects have no mask: pixel figures leave them out"


def _figures(evaluation: Evaluation) -> Table:
    table = Table(title=f"{evaluation.pictures} pictures", title_justify="left")
    pixel = evaluation.pixel
    figures = {
        "image AUROC": evaluation.image_auroc,
        "pixel AUROC": pixel.auroc,
        "PRO (to 30 % FPR)": pixel.pro,
        "pixel AP": pixel.ap,
        "mask overlap (IoU)": evaluation.overlap,
    }
    for name in figures:
        table.add_column(name, justify="right")
    table.add_row(*(_percent(value) for value in figures.values()))
    return table


def _kinds(evaluation: Evaluation) -> Table:
    title = f"at threshold {evaluation.threshold:.4f}"
    table = Table(title=title, title_justify="left")
    table.add_column("kind")
    for name in ("pictures", "rejected", "escapes", "false rejects"):
        table.add_column(name, justify="right")
    for kind in evaluation.kinds:
        table.add_row(*_kind_row(kind))
    return table


def _kind_row(count: KindCount) -> tuple[str, ...]:
    wrong = count.rejected if count.kind == GOOD else count.pictures - count.rejected
    text = f"{wrong} ({wrong / count.pictures:.1%})"
    escapes, false_rejects = ("", text) if count.kind == GOOD else (text, "")
    return count.kind, str(count.pictures), str(count.rejected), escapes, false_rejects


def _unreadable_lines(unreadable: tuple[str, ...]) -> Iterator[str]:
    if not unreadable:
        return
    yield f"warning: {len(unreadable)} pictures could not be read and were left out:"
    yield from (f"  {sentence}" for sentence in unreadable[:_NAMED_UNREADABLE])
    if len(unreadable) > _NAMED_UNREADABLE:
        yield f"  and {len(unreadable) - _NAMED_UNREADABLE} more"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
