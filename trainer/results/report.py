"""The closing report of the commands, in sentences and tables."""

import math
from collections.abc import Iterable, Iterator, Mapping

from rich.table import Table

from engines.manifest import Thresholds
from trainer.dataset import GOOD, Dataset
from trainer.near_duplicates import NEAR_OVERLAP
from trainer.results.evaluation import UNLIKE_SEEN, Evaluation, ThresholdCosts
from trainer.results.metrics import KindCount, PixelFigures
from trainer.results.plant_figures import PlantFigures, PromiseFigures, Share
from trainer.seen import SeenRecord
from trainer.zones import PictureZones

_FEW_NORMALS = 20
_NAMED_UNREADABLE = 10
_FIGURES = ("image AUROC", "pixel AUROC", "PRO 30 %", "pixel AP", "mask IoU")


def files_line(dataset: Dataset) -> str:
    """Return a sentence on what became of the files of a data folder."""
    return f"{dataset.name}: {dataset.files.line()}"


def note_lines(notes: Iterable[str]) -> Iterator[str]:
    """Yield a line for each thing that was not used as the files hold it."""
    yield from (f"warning: {note}" for note in notes)


def loss_lines(unreadable: tuple[str, ...], notes: Iterable[str]) -> Iterator[str]:
    """Yield lines on pictures that were left out or not used as their files hold them."""
    yield from _unreadable_lines(unreadable)
    yield from note_lines(notes)


def common_lines(
    name: str, learned: int, held: int, unreadable: tuple[str, ...], notes: Iterable[str] = ()
) -> Iterator[str]:
    """Yield lines on the pictures of normal parts that a network was trained on."""
    yield from loss_lines(unreadable, notes)
    yield f"learned from {learned} normal pictures of {name}, {held} held out"
    if learned < _FEW_NORMALS:
        yield (
            f"warning: {learned} pictures show little of what normal parts look like: add more "
            "before trusting the verdicts"
        )


def seconds_line(seconds: Mapping[str, float]) -> str:
    """Return a line with the duration of each step."""
    steps = ", ".join(f"{name} {each:.1f} s" for name, each in seconds.items())
    return f"took {sum(seconds.values()):.1f} s: {steps}"


def seen_lines(record: SeenRecord, defects: int, normals: int, related: int = 0) -> Iterator[str]:
    """Yield lines on test pictures that are left out because the engine learned from them."""
    if related:
        yield (
            f"{related} test pictures nearly copy, or share a group with, pictures that the "
            "engine learned from: they are not tested with"
        )
    recorded = len(record.pictures)
    good = f", and {normals} good ones" if normals else ""
    if recorded or normals:
        yield (
            f"{defects} of the {recorded} defects that the engine learned from lie in this folder"
            f"{good}; they are not tested with (--with-seen tests with them too)"
        )
    if record.leave_out:
        yield f"kinds of defects that it never saw: {', '.join(record.leave_out)}"


def evaluation_tables(evaluation: Evaluation) -> Iterator[Table | str]:
    """Yield tables of figures for all defects and each kind, and the threshold's effect."""
    yield from _unreadable_lines(evaluation.unreadable)
    yield from note_lines(evaluation.notes)
    yield from _mask_lines(evaluation)
    if evaluation.ignored:
        yield f"{len(evaluation.ignored)} defects lie wholly in ignored zones and are in no figure:"
        yield from _some(evaluation.ignored)
    yield _figures(evaluation)
    if evaluation.apart:
        yield f"{UNLIKE_SEEN}: overlap with every mask learned from is under {NEAR_OVERLAP} IoU"
    if evaluation.without_mask:
        yield f"{evaluation.without_mask} defects have no mask: pixel figures leave them out"
    yield _kinds(evaluation)
    yield from plant_lines(evaluation.plant)
    if evaluation.plant.sizes:
        yield _sizes(evaluation.plant)


def zone_lines(zones: PictureZones | None, thresholds: Thresholds) -> Iterator[str]:
    """Yield a line on what zones inspect, and by which threshold they are judged."""
    if zones is None:
        return
    names = ", ".join(f"{zone.name} ({zone.kind}, {zone.shape})" for zone in zones.zones.zones)
    yield f"zones {zones.zones.sha256[:12]}: {names}"
    peak = "-" if thresholds.peak is None else f"{thresholds.peak:.4f}"
    share = float(zones.inspected.mean())
    yield f"{share:.1%} of a picture is inspected, peak threshold {peak}"


def plant_lines(plant: PlantFigures) -> Iterator[str]:
    """Yield lines on the threshold's effect on good and defective parts, and possible recall."""
    yield f"good parts rejected: {_share(plant.false_rejects)}"
    yield f"defects that escape: {_share(plant.escapes)}"
    at = plant.at_rate
    if at.resolved:
        yield (
            f"recall at {at.rate:.1%} false rejects ({at.rejected} of {at.normals} good parts, "
            f"score above {at.threshold:.4f}): {_of(at.recall)}"
        )
        return
    if not at.normals:
        yield f"recall at {at.rate:.1%} false rejects: - (no good test picture to find it with)"
        return
    yield (
        f"recall at {at.rate:.1%} false rejects: {at.normals} good test pictures are too few to "
        f"tell, that takes {math.ceil(1 / at.rate):,}; at the highest score of theirs "
        f"({at.threshold:.4f}) it is {_of(at.recall)}"
    )


def promise_lines(promise: PromiseFigures | None) -> Iterator[str]:
    """Yield lines that compare the promised and the measured rate of false rejects."""
    if promise is None:
        return
    found = "holds the promise" if promise.holds else "lies ABOVE the promise"
    yield (
        f"false rejects promised: {promise.promised:.2%} ({promise.method}); measured on one "
        f"picture of each of {promise.groups} good parts or groups: {promise.rejected}, 95 % "
        f"interval {promise.at_least:.1%} to {promise.at_most:.1%}, which {found}"
    )
    if not promise.holds:
        yield (
            "good test pictures differ from those that were learned, or pictures of one part or "
            "series were on both sides of the calibration: say with trainer-train --groups which "
            "belong together, and learn from good parts of every day, lot and machine"
        )


def cost_lines(costs: ThresholdCosts | None) -> Iterator[str]:
    """Yield a line on the cheapest threshold, and how to set it while the line runs."""
    if costs is None:
        return
    yield (
        f"errors cost {costs.expected:.4g} a part at the threshold; least at "
        f"{costs.cheapest_threshold:.4f}: {costs.cheapest:.4g} (found on these pictures: an "
        f"estimate). pipeline-control --threshold {costs.cheapest_threshold:.4f} sets it"
    )


def _figures(evaluation: Evaluation) -> Table:
    table = Table(title=f"{evaluation.pictures} pictures", title_justify="left")
    table.add_column("defects")
    for name in ("n", *_FIGURES):
        table.add_column(name, justify="right")
    normals = evaluation.plant.false_rejects.of
    row = _four(evaluation.image_auroc, evaluation.pixel, evaluation.overlap)
    table.add_row("all", str(evaluation.pictures - normals), *row)
    parts = evaluation.defects if len(evaluation.defects) > 1 else ()
    for part in (*parts, *([evaluation.apart] if evaluation.apart else [])):
        row = _four(part.image_auroc, part.pixel, part.overlap)
        table.add_row(part.name, str(part.pictures), *row)
    return table


def _four(image_auroc: float, pixel: PixelFigures, overlap: float) -> tuple[str, ...]:
    values = (image_auroc, pixel.auroc, pixel.pro, pixel.ap, overlap)
    return tuple(_percent(value) for value in values)


def _sizes(plant: PlantFigures) -> Table:
    """Show what happens to small, middling and large defects."""
    table = Table(title="by area of the defect, thirds", title_justify="left")
    table.add_column("pixels")
    names = ("defects", "escapes at the threshold", f"missed at {plant.at_rate.rate:.1%}")
    for name in names if plant.at_rate.resolved else (*names[:2], "below the highest good part"):
        table.add_column(name, justify="right")
    for size in plant.sizes:
        table.add_row(
            f"{size.smallest} to {size.largest}",
            str(size.escapes.of),
            _of(size.escapes),
            _of(size.missed_at_rate),
        )
    return table


def _share(share: Share) -> str:
    return f"{_of(share)}, with 95 % confidence at most {share.at_most:.1%}" if share.of else "-"


def _of(share: Share) -> str:
    return f"{share.count} of {share.of} ({share.count / share.of:.1%})" if share.of else "-"


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


def _mask_lines(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.refused_masks:
        count = len(evaluation.refused_masks)
        yield f"warning: {count} masks are of no use, their defects count without one:"
        yield from _some(evaluation.refused_masks)
    if evaluation.doubtful_masks:
        count = len(evaluation.doubtful_masks)
        yield f"warning: {count} masks mark most of their picture:"
        yield from _some(evaluation.doubtful_masks)


def _unreadable_lines(unreadable: tuple[str, ...]) -> Iterator[str]:
    if not unreadable:
        return
    yield f"warning: {len(unreadable)} pictures could not be read and were left out:"
    yield from _some(unreadable)


def _some(sentences: tuple[str, ...]) -> Iterator[str]:
    yield from (f"  {sentence}" for sentence in sentences[:_NAMED_UNREADABLE])
    if len(sentences) > _NAMED_UNREADABLE:
        yield f"  and {len(sentences) - _NAMED_UNREADABLE} more"


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"
