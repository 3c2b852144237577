"""The report page of a demo: one file beside its overlay pictures."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from engines.files import write_atomic
from pipeline.commands.overlay import overlay_stem
from pipeline.demo.summary import GOOD, Outcome, is_wrong, kind_of
from pipeline.demo.training import Measured
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
    outcome: Outcome,
    verdicts: list[dict[str, Any]],
    models: Sequence[Measured],
    broken: list[str],
) -> Path:
    """Write `report.html`.

    Args:
        folder: gets it; holds the overlays.
        outcome: of the verdicts.
        verdicts: as `pipeline-consume` prints them.
        models: the one that gave them, and what it is compared with.
        broken: promises, one sentence each.
    """
    p50, p99 = outcome.latency_ms
    promise = (
        "".join(f'<p class="broken">broken: {escape(sentence)}</p>' for sentence in broken)
        or f'<p class="kept">Every one of {outcome.parts} parts got exactly one verdict.</p>'
    )
    page = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>Inspection of {outcome.parts} parts</title><style>{_STYLE}</style>
<h1>Inspection of {outcome.parts} parts</h1>{promise}
{_lesson(models[0])}
<p>{outcome.parts_per_s:.1f} parts a second; from capture to verdict {p50:.1f} ms (median),
{p99:.1f} ms (99th percentile), of which inference {outcome.inference_ms:.1f} ms.</p>
{_kinds(outcome)}
{_models(models)}
{_missed(verdicts)}
<h2>Parts that were not called OK</h2>
<p>Outlined in red: verdicts that the truth contradicts. Marked in each picture: the mask and its
regions.</p><div class="parts">{_pictures(folder, verdicts)}</div></html>"""
    path = folder / "report.html"
    write_atomic(path, page.encode())
    return path


def _kinds(outcome: Outcome) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in ("parts", "n", *Decision, "wrong"))
    rows = "".join(
        f"<tr><td>{escape(kind.name)}</td><td>{kind.parts}</td>"
        + "".join(f"<td>{kind.decisions[decision]}</td>" for decision in Decision)
        + f"<td>{kind.misses + kind.false_rejects}</td></tr>"
        for kind in outcome.kinds
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _lesson(served: Measured) -> str:
    """Say which model judged, and which parts were kept from it."""
    lesson = served.lesson
    said = (
        f"<p>Judged by <strong>{escape(lesson.title)}</strong>, learned in {lesson.duration} from "
        f"{lesson.sources}.</p>"
    )
    if not lesson.seen:
        return said
    names = ", ".join(sorted(lesson.seen))
    return said + (
        f"<p>Left out of everything on this page, for it learned from them: {escape(names)}.</p>"
    )


def _models(models: Sequence[Measured]) -> str:
    """Put the models beside each other, the one that judged first."""
    rows = [{**model.cells(), "learned from": model.lesson.sources} for model in models]
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
        truth = kind_of(verdict)
        score = "" if verdict["score"] is None else f", score {verdict['score']:.3f}"
        caption = f"{verdict['part_id']}: {verdict['decision']}{score}"
        wrong = ' class="wrong"' if is_wrong(verdict) else ""
        alt = "a good part" if truth == GOOD else f"a part with {truth}"
        figures.append(
            f'<figure{wrong}><img loading="lazy" src="{escape(picture)}" alt="{escape(alt)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return "".join(figures)
