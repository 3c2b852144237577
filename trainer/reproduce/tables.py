"""A table of trainings beside the paper's figures."""

import json
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from trainer.reproduce.rows import FourMetrics, PaperTable
from trainer.reproduce.trial import TrialResult

Results = Mapping[str, Sequence[TrialResult]]  # by the name of the row

_NAMES = ("image AUROC", "pixel AUROC", "PRO 30 %", "pixel AP")


def comparison(table: PaperTable, found: Results) -> Table:
    """Show, in percent, the mean over datasets and seeds, and from which to which seed.

    The paper's figures are means over the 15 categories of MVTec AD.
    """
    shown = Table(title=f"{table.title}: mean (lowest to highest seed), then the paper's")
    shown.title_justify = "left"
    shown.add_column("")
    for name in (*_NAMES, "AP, unlike seen", "escapes", "false rejects", "paper: I / P / O / A"):
        shown.add_column(name, justify="right")
    papers = {row.name: _paper(row.paper, likely=row.likely) for row in table.rows}
    for name, results in found.items():
        shown.add_row(name, *_cells(results), papers.get(name, ""))
    return shown


def results_json(found: Results) -> bytes:
    """All results, by the name of their row."""
    plain = {name: [each.model_dump() for each in results] for name, results in found.items()}
    return (json.dumps(plain, indent=2) + "\n").encode()


def _cells(results: Sequence[TrialResult]) -> list[str]:
    seeds = sorted({str(each.configuration["seed"]) for each in results}, key=int)
    by_seed = [[r for r in results if str(r.configuration["seed"]) == seed] for seed in seeds]
    figures = np.array([np.mean([r.figures.values() for r in some], axis=0) for some in by_seed])
    cells = [_spread(figures[:, column]) for column in range(len(_NAMES))]
    apart = [[r.apart.pixel_ap for r in some if r.apart is not None] for some in by_seed]
    cells.append(_spread(np.array([np.mean(some) for some in apart if some])))
    cells.append(_share([(r.escapes, r.defects) for r in results]))
    cells.append(_share([(r.false_rejects, r.normals) for r in results]))
    return cells


def _spread(values: NDArray[np.float64]) -> str:
    if not values.size:
        return "-"
    mean = f"{100 * values.mean():.2f}"
    if len(values) == 1:
        return mean
    return f"{mean} ({100 * values.min():.2f} to {100 * values.max():.2f})"


def _share(counts: Sequence[tuple[int | None, int]]) -> str:
    """Sum of some counts, of all parts in all runs."""
    known = [(count, of) for count, of in counts if count is not None]
    return f"{sum(c for c, _ in known)} of {sum(of for _, of in known)}" if known else "-"


def _paper(four: FourMetrics | None, *, likely: bool) -> str:
    if four is None:
        return ""
    text = " / ".join(f"{100 * each:.1f}" for each in four.values())
    return f"likely {text}" if likely else text
