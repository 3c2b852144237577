"""The report page of a demo: one file beside its overlay pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.files import write_atomic
from pipeline.demo.summary import GOOD, RunSummary, is_wrong, kind_of_part
from pipeline.demo.training import EvaluatedModel
from pipeline.frames import Decision

_PAGE_NAME = "report.html"


@dataclass(frozen=True, slots=True)
class _Picture:
    source: str
    shows: str
    caption: str
    wrong: bool


def write_report(
    folder: Path,
    summary: RunSummary,
    verdicts: list[dict[str, Any]],
    models: Sequence[EvaluatedModel],
    broken: list[str],
) -> Path:
    """Write `report.html`.

    Args:
        folder: gets it; holds the overlays.
        summary: of the verdicts.
        verdicts: as `pipeline-consume` prints them.
        models: the one that gave them, and what it is compared with.
        broken: promises, one sentence each.
    """
    from engines.commandline.pages import render_page  # noqa: PLC0415  # it needs an extra

    missed = [one for one in verdicts if one["decision"] == Decision.OK and is_wrong(one)]
    page = render_page(
        "pipeline.demo",
        _PAGE_NAME,
        summary=summary,
        broken=broken,
        served=models[0].trained,
        models=[{**model.cells(), "learned from": model.trained.sources} for model in models],
        decisions=list(Decision),
        misses=sorted(missed, key=lambda one: float(one["score"])),
        pictures=list(_pictures(folder, verdicts)),
    )
    path = folder / _PAGE_NAME
    write_atomic(path, page)
    return path


def _pictures(folder: Path, verdicts: list[dict[str, Any]]) -> Iterator[_Picture]:
    """Yield the overlays of parts that were not called OK, wrong verdicts first."""
    from pipeline.commands.overlay import overlay_stem  # noqa: PLC0415  # it needs an extra

    shown = [verdict for verdict in verdicts if verdict["decision"] != Decision.OK]
    shown.sort(key=lambda verdict: (not is_wrong(verdict), -(verdict["normalised"] or 0)))
    for verdict in shown:
        stem = overlay_stem(
            verdict["camera"],
            verdict["seq"],
            verdict["reason"] or verdict["decision"],
            verdict["part_id"],
        )
        source = f"overlays/{stem}.jpg"
        if not (folder / source).exists():
            continue
        truth = kind_of_part(verdict)
        score = "" if verdict["score"] is None else f", score {verdict['score']:.3f}"
        yield _Picture(
            source=source,
            shows="a good part" if truth == GOOD else f"a part with {truth}",
            caption=f"{verdict['part_id']}: {verdict['decision']}{score}",
            wrong=is_wrong(verdict),
        )
