"""The short table at the end, from what all steps wrote."""

from collections.abc import Iterator
from typing import Any

FORMS = ("eager", "eager_turned", "compiled")
Row = dict[str, Any]


def lines(report: dict[str, Any]) -> Iterator[str]:
    """Status of every step, then the main figures of those that have any."""
    steps: dict[str, Row] = report["steps"]
    for name, step in steps.items():
        why = f": {step['why']}" if step.get("why") else ""
        yield f"{name:<12} {step['status']:<8} {step['took_s']:>6.1f} s{why}"[:240]
    figures = {name: step.get("figures", {}) for name, step in steps.items()}
    yield from _machine(figures.get("machine", {}))
    yield from _calls(figures.get("kernel", {}))
    yield from _launches(figures.get("kernel", {}))
    yield from _forms([figures.get(name, {}) for name in ("composition", "compiled")])
    yield from _network(figures.get("network", {}))
    yield from _plans(figures.get("serving", {}))
    if report.get("warning"):
        yield report["warning"]


def _machine(found: Row) -> Iterator[str]:
    if isinstance(found.get("gpu"), dict):
        yield f"\n{found['gpu'].get('name')}, torch {found['packages'].get('torch')}"


def _calls(found: Row) -> Iterator[str]:
    if "calls" not in found:
        return
    copied = found["copy_gb_per_s"]["median"]
    yield f"\nkernel, microseconds; floor share at the {copied:.0f} GB/s of a copy and at 3.0 TB/s"
    yield "type   N   K    hot   cold  rotated  graph  called   GB/s cold  share  at 3.0"
    for row in found["calls"]:
        share = row.get("cold_share_of_floor", {})
        yield (
            f"{row['kind']:<5}{row['batch']:>3} {row['prototypes']:>3} "
            f"{_median(row, 'hot_us'):>6} {_median(row, 'cold_us'):>6} "
            f"{_median(row, 'rotated_us'):>8} {_median(row.get('graph', {}), 'cold_us'):>6} "
            f"{_median(row, 'called_us'):>7} {row.get('cold_gb_per_s', '-'):>11} "
            f"{share.get('copy', '-'):>6} {share.get('3.0 TB/s', '-'):>7}"
        )


def _launches(found: Row) -> Iterator[str]:
    rows = [row for row in found.get("launches", []) if "distances" in row["cold_us"]]
    if rows:
        yield "\neach launch, cold, microseconds: distances + residuals + memset"
    for row in rows:
        parts = [_median(row["cold_us"], name) for name in ("distances", "residuals", "memset")]
        yield f"{row['kind']:<5}{row['batch']:>3} {row['prototypes']:>3}  {' + '.join(parts)}"


def _forms(tables: list[Row]) -> Iterator[str]:
    found: dict[tuple[str, int, int], dict[str, float]] = {}
    for table in tables:
        for row in table.get("forms", []):
            case = row["kind"], row["batch"], row["prototypes"]
            found.setdefault(case, {}).update(_cold(row))
    if found:
        yield "\nframework operators, cold, microseconds (g: in a CUDA graph); ours / best of them"
    for (kind, batch, count), cold in found.items():
        theirs = {name: took for name, took in cold.items() if name.split(" ")[0] in FORMS}
        if not theirs or "ours" not in cold:
            continue
        best = min(theirs, key=lambda name: theirs[name])
        ours = min(took for name, took in cold.items() if name.startswith("ours"))
        said = ", ".join(f"{name} {took:.1f}" for name, took in cold.items())
        yield f"{kind:<5}{batch:>3} {count:>3}  ours / {best} = {ours / theirs[best]:.2f}; {said}"


def _cold(row: Row) -> dict[str, float]:
    """Cold medians of a row's forms, as called and as a graph."""
    cold = {}
    for name, form in row.items():
        if isinstance(form, dict):
            for label, times in ((name, form), (f"{name} g", form.get("graph", {}))):
                if "median" in times.get("cold_us", {}):
                    cold[label] = times["cold_us"]["median"]
    return cold


def _network(found: Row) -> Iterator[str]:
    for row in found.get("training", []):
        how = "as trained" if row["deterministic"] else "free"
        took = f"{row['step_ms']} ms, {row['peak_gb']} GB" if "step_ms" in row else row["not run"]
        yield f"training step, prn, batch {row['batch']}, {row['precision']}, {how}: {took}"
    for row in found.get("inference", []):
        rate = row.get("frames_per_s", row["call_us"].get("not run"))
        yield f"inference, {row['plan']}, {row['kind']}, batch {row['batch']}: {rate} frames/s"


def _median(row: Row, name: str) -> str:
    found = row.get(name, {})
    return f"{found['median']:.1f}" if "median" in found else "-"


def _plans(found: Row) -> Iterator[str]:
    """What became of each plan, and what 8 bits give."""
    rows = {name: row for name, row in found.items() if name.startswith("tensorrt")}
    if rows:
        yield "\nplans"
    for name, row in rows.items():
        said = ", ".join(
            f"{key} {value:.3g}" if isinstance(value, float) else f"{key} {value}"
            for key, value in row.items()
            if not isinstance(value, list)
        )
        yield f"{name}: {said}"[:240]
