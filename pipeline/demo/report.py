"""The report page of a demo: one file beside its overlay pictures."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from engines.files import write_atomic
from pipeline.demo.summary import GOOD, RunSummary, is_wrong, kind_of_part
from pipeline.demo.training import EvaluatedModel
from pipeline.frames import Decision

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; color: #1c2024 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { padding: .3rem .9rem; text-align: right }
th { border-bottom: 2px solid #889 } td:first-child, th:first-child { text-align: left }
tr + tr td { border-top: 1px solid #dde } .kept { color: #17633a } .broken { color: #a11 }
.parts { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem }
figure { margin: 0 } img { width: 100%; border-radius: .3rem } figcaption { font-size: .85rem }
figure.wrong img { outline: 4px solid #c22 }
"""


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
    p50, p99 = summary.latency_ms
    promise = (
        "".join(f'<p class="broken">broken: {escape(sentence)}</p>' for sentence in broken)
        or f'<p class="kept">Every one of {summary.parts} parts got exactly one verdict.</p>'
    )
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Inspection of {summary.parts} parts</title><style>{_STYLE}</style>
<h1>Inspection of {summary.parts} parts</h1>{promise}
{_trained(models[0])}
<p>{summary.parts_per_s:.1f} parts a second; from capture to verdict {p50:.1f} ms (median),
{p99:.1f} ms (99th percentile), of which inference {summary.inference_ms:.1f} ms.</p>
{_kinds(summary)}
{_models(models)}
{_missed(verdicts)}
<h2>Parts that were not called OK</h2>
<p>Outlined in red: verdicts that the truth contradicts. Marked in each picture: the mask and its
regions.</p><div class="parts">{_pictures(folder, verdicts)}</div></html>"""
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _kinds(summary: RunSummary) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("parts", "n", *Decision, "wrong"))
    rows = "".join(
        f"<tr><td>{escape(kind.name)}</td><td>{kind.parts}</td>"
        + "".join(f"<td>{kind.decisions[decision]}</td>" for decision in Decision)
        + f"<td>{kind.misses + kind.false_rejects}</td></tr>"
        for kind in summary.kinds
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _trained(served: EvaluatedModel) -> str:
    """Say which model judged, and which parts were kept from it."""
    model = served.trained
    said = (
        f"<p>Judged by <strong>{escape(model.title)}</strong>, learned in {model.duration} from "
        f"{model.sources}.</p>"
    )
    if not model.seen:
        return said
    names = ", ".join(sorted(model.seen))
    return said + (
        f"<p>Left out of everything on this page, for it learned from them: {escape(names)}.</p>"
    )


def _models(models: Sequence[EvaluatedModel]) -> str:
    """Put the models beside each other, the one that judged first."""
    rows = [{**model.cells(), "learned from": model.trained.sources} for model in models]
    head = "".join(f"<th>{escape(name)}</th>" for name in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row.values()) + "</tr>"
        for row in rows
    )
    return f"<h2>Figures of these parts, in %</h2><table><tr>{head}</tr>{body}</table>"


def _missed(verdicts: list[dict[str, Any]]) -> str:
    missed = [one for one in verdicts if one["decision"] == Decision.OK and is_wrong(one)]
    rows = "".join(
        f"<li>{escape(one['part_id'])}, score {one['score']:.3f}, threshold "
        f"{one['threshold']:.3f}</li>"
        for one in sorted(missed, key=lambda one: one["score"])
    )
    return f"<h2>Defective parts that were called OK</h2><ul>{rows or '<li>none</li>'}</ul>"


def _pictures(folder: Path, verdicts: list[dict[str, Any]]) -> str:
    from pipeline.commands.overlay import overlay_stem  # noqa: PLC0415  # it needs an extra

    shown = [verdict for verdict in verdicts if verdict["decision"] != Decision.OK]
    shown.sort(key=lambda verdict: (not is_wrong(verdict), -(verdict["normalised"] or 0)))
    figures = []
    for verdict in shown:
        stem = overlay_stem(
            verdict["camera"],
            verdict["seq"],
            verdict["reason"] or verdict["decision"],
            verdict["part_id"],
        )
        picture = f"overlays/{stem}.jpg"
        if not (folder / picture).exists():
            continue
        truth = kind_of_part(verdict)
        score = "" if verdict["score"] is None else f", score {verdict['score']:.3f}"
        caption = f"{verdict['part_id']}: {verdict['decision']}{score}"
        wrong = ' class="wrong"' if is_wrong(verdict) else ""
        alt = "a good part" if truth == GOOD else f"a part with {truth}"
        figures.append(
            f'<figure{wrong}><img loading="lazy" src="{escape(picture)}" alt="{escape(alt)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return "".join(figures)
