"""Models beside each other: what each was learned from, and how it judges the same parts."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from pipeline.lesson import Lesson

_PIXEL_FIGURES = {"pixel AUROC": "auroc", "PRO": "pro", "pixel AP": "ap"}


@dataclass(frozen=True, slots=True)
class Measured:
    """A model and its figures."""

    lesson: Lesson
    figures: dict[str, float]  # 0..1, by the field's names
    missed: str  # defects at its threshold, `1 of 50`
    rejected: str  # good parts, likewise

    def cells(self) -> dict[str, str]:
        """What stands in a table's row, by the column's title."""
        return {
            "model": self.lesson.title,
            "learned in": self.lesson.duration,
            **{name: f"{100 * share:.2f}" for name, share in self.figures.items()},
            "missed": self.missed,
            "falsely rejected": self.rejected,
        }


def measured(lesson: Lesson, evaluation: dict[str, Any]) -> Measured:
    """Pick what models are compared by out of `trainer-evaluate --json`."""
    found = {"image AUROC": evaluation["image_auroc"]}
    pixel = evaluation["pixel"] or {}  # there may be no masks
    found |= {name: pixel.get(key) for name, key in _PIXEL_FIGURES.items()}
    figures = {name: float(value) for name, value in found.items() if value is not None}
    plant = evaluation["plant"]
    missed, rejected = (
        f"{plant[key]['count']} of {plant[key]['of']}" for key in ("escapes", "false_rejects")
    )
    return Measured(lesson, figures, missed, rejected)


def show_comparison(models: Sequence[Measured], console: Console) -> None:
    """Print a row for each; the first one's figures are the columns."""
    rows = [model.cells() for model in models]
    table = Table(title="figures of these parts, in %", title_justify="left")
    for name in rows[0]:
        table.add_column(name, justify="left" if name == "model" else "right")
    for row in rows:
        table.add_row(*row.values())
    console.print(table)
