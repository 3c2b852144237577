"""The rows of PRN's tables 4 to 7 and of its comparison of datasets: what each changes.

The paper's figures stand beside a row only where it is certain, or said to be likely, which of its
rows that is: the tick marks of its tables 4 and 5 are damaged in every copy that we have.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from trainer.choices import SIMULATED_CERTAINTY, TableName
from trainer.training.prn.data import SupervisedRecipe


@dataclass(frozen=True, slots=True)
class FourMetrics:
    """Image AUROC, pixel AUROC, PRO to 30 % false positives, pixel AP; fractions, 0..1."""

    image_auroc: float
    pixel_auroc: float
    pro: float
    pixel_ap: float

    def values(self) -> tuple[float, float, float, float]:
        """All four, in this order."""
        return self.image_auroc, self.pixel_auroc, self.pro, self.pixel_ap


@dataclass(frozen=True, slots=True)
class TableRow:
    """One training of a table."""

    name: str
    change: Callable[[SupervisedRecipe], SupervisedRecipe]
    paper: FourMetrics | None = None  # means over the categories of MVTec AD
    likely: bool = False  # which row of the paper it is, is likely, not certain


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table of the paper."""

    title: str
    rows: tuple[TableRow, ...]
    note: str = ""


def _paper(*percent: float) -> FourMetrics:
    image, pixel, pro, ap = (each / 100 for each in percent)
    return FourMetrics(image, pixel, pro, ap)


_PRN = _paper(99.4, 99.0, 96.1, 78.6)


def _parts(
    name: str, paper: FourMetrics | None = None, *, likely: bool = False, **changed: bool
) -> TableRow:
    """Make a row with some of the network's parts switched."""
    return TableRow(
        name,
        lambda recipe: replace(recipe, parts=replace(recipe.parts, **changed)),
        paper,
        likely,
    )


def _anomalies(name: str, **changed: Any) -> TableRow:  # noqa: ANN401  # fields of Switches
    return TableRow(
        name, lambda recipe: replace(recipe, anomalies=replace(recipe.anomalies, **changed))
    )


def _ratio(percent: int, paper: FourMetrics | None) -> TableRow:
    share = percent / 100
    return TableRow(
        f"{percent} % prototypes",
        lambda recipe: replace(recipe, prototype_share=share),
        paper,
        likely=percent == 100,  # noqa: PLR2004
    )


def _seen(count: int, paper: FourMetrics | None) -> TableRow:
    return TableRow(f"{count} seen", lambda recipe: replace(recipe, seen=count), paper)


_ALL = TableRow("PRN, all of it", lambda recipe: recipe, _PRN)

TABLES: dict[TableName, PaperTable] = {
    "table4": PaperTable(
        "PRN's table 4: its parts",
        (
            _parts(
                "U-Net only",
                _paper(97.4, 91.7, 88.6, 58.5),
                prototypes=False,
                fusion=False,
                attention=False,
            ),
            _parts(
                "with prototypes (MP)",
                _paper(98.0, 98.5, 95.3, 77.0),
                likely=True,
                fusion=False,
                attention=False,
            ),
            _parts("without MP", _paper(97.8, 97.0, 92.1, 74.0), likely=True, prototypes=False),
            _parts("without fusion (MF)", fusion=False),
            _parts("without attention (MSA)", attention=False),
            _parts("residual map added (ours)", residual_map=True),
            _ALL,
        ),
        "two more rows of the paper, 98.6 98.4 95.7 75.2 and 98.7 98.5 95.4 78.1, are of unknown "
        "parts",
    ),
    "table5": PaperTable(
        "PRN's table 5: its anomalies",
        (
            _anomalies("without extended (EA)", extended=False),
            _anomalies("without heterologous (HEA)", heterologous=False),
            _anomalies("without homologous (HOA)", homologous=False),
            _anomalies("without transparency (TA)", transparent=False),
            _anomalies("simulated ones less certain (ours)", certainty=SIMULATED_CERTAINTY),
            _ALL,
        ),
        "four rows of the paper are of unknown anomalies: 98.6 97.2 93.4 75.7, ?9.1 98.4 95.4 "
        "71.4, 98.7 98.2 95.1 73.4, 98.4 98.4 94.9 77.6",
    ),
    "table6": PaperTable(
        "PRN's table 6: prototypes by number of normal pictures",
        (
            _ratio(5, _paper(99.2, 98.6, 95.4, 78.1)),
            _ALL,
            _ratio(30, None),
            _ratio(100, _paper(86.2, 91.4, 75.4, 49.9)),
        ),
        "all of it has 10 %; the paper's middle ratio, unreadable, 20 to 50 %: 99.2 98.8 95.7 77.3",
    ),
    "table7": PaperTable(
        "PRN's table 7: seen defects",
        (
            _seen(0, None),
            _seen(1, _paper(98.8, 98.3, 95.4, 74.7)),
            _seen(5, _paper(99.2, 98.6, 95.6, 76.4)),
            _ALL,
        ),
        "all of it has 10; the paper has no row without any",
    ),
    "datasets": PaperTable("PRN's comparison of datasets", (_ALL,)),
}
