"""The report of `pipeline-loop`: escapes, the swap, the rollback, latency and the proof."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from engines.commandline.terminal import headed
from engines.files import write_atomic
from pipeline.demo.loop.data import kind_of_picture
from pipeline.demo.summary import GOOD
from pipeline.frames import Decision

ALLOWED_SLOWDOWN = 1.5  # of the 99th percentile during a swap
ALLOWED_ROLLBACK_MS = 1000.0
Span = tuple[float, float]  # since, until; milliseconds since the epoch
VerdictRow = Mapping[str, Any]  # a verdict as `pipeline-consume` prints it


@dataclass(frozen=True, slots=True)
class Rollback:
    """The command that went back to the engine before."""

    began_ms: float  # since the epoch
    ended_ms: float


@dataclass(frozen=True, slots=True)
class LoopRecord:
    """All that happened on the line."""

    names: Mapping[str, str]  # picture by part id
    golden: frozenset[str]  # part ids that no training saw
    before: Sequence[VerdictRow]  # verdicts of the parts, by the first engine
    after: Sequence[VerdictRow]  # of the same parts, by the second
    rows: Sequence[VerdictRow]  # all verdicts
    engines: tuple[str, str]  # SHA-256 of the first and of the second
    steady_ms: Span
    swap_ms: Span
    rollback: Rollback
    seconds: Mapping[str, float]  # of each command
    reconciled: Mapping[str, Any]  # what pipeline-reconcile says


@dataclass(frozen=True, slots=True)
class KindVerdicts:
    """Parts of one kind that one engine judged."""

    kind: str
    parts: int
    wrong: int  # good parts called NG, defective ones called OK
    unknown: int


def count_repeated(rows: Iterable[VerdictRow]) -> int:
    """How many frames have more than one verdict."""
    frames = Counter((row["camera"], row["seq"]) for row in rows)
    return sum(1 for count in frames.values() if count > 1)


@dataclass(frozen=True, slots=True)
class LoopSummary:
    """The figures of a course."""

    before: list[KindVerdicts]
    after: list[KindVerdicts]
    after_golden: list[KindVerdicts]  # of parts that no training saw
    verdicts: int
    told_twice: int
    engines: list[tuple[str, int]]  # as they judged, one after the other
    steady_p99_ms: float
    swap_p99_ms: float
    rollback_command_ms: float
    rollback_verdict_ms: float | None  # from the command's start to the old engine's first verdict
    seconds: dict[str, float]
    broken: list[str]


def summarise_loop(record: LoopRecord) -> LoopSummary:
    """Return the figures, and what was promised and not kept."""
    golden = [row for row in record.after if row["part_id"] in record.golden]
    steady = percentile_ms(record.rows, 99, *record.steady_ms)
    swap = percentile_ms(record.rows, 99, *record.swap_ms)
    began_ms = record.rollback.began_ms
    back = first_by(record.rows, record.engines[0], began_ms)
    summary = LoopSummary(
        before=count_kinds(record.before, record.names),
        after=count_kinds(record.after, record.names),
        after_golden=count_kinds(golden, record.names),
        verdicts=len(record.rows),
        told_twice=count_repeated(record.rows),
        engines=engine_runs(record.rows),
        steady_p99_ms=steady,
        swap_p99_ms=swap,
        rollback_command_ms=record.rollback.ended_ms - began_ms,
        rollback_verdict_ms=None if back is None else back - began_ms,
        seconds=dict(record.seconds),
        broken=list(record.reconciled["broken"]),
    )
    return _judged(summary, record.engines)


def _judged(summary: LoopSummary, engines: tuple[str, str]) -> LoopSummary:
    first, second = engines
    took_turns = [sha256 for sha256, _ in summary.engines]
    back_ms = summary.rollback_verdict_ms
    promises = {
        f"{summary.told_twice} frames have two verdicts": summary.told_twice == 0,
        f"engines judged in the order {took_turns}": took_turns == [first, second, first],
        f"p99 during the swap was {summary.swap_p99_ms:.0f} ms, {summary.steady_p99_ms:.0f} ms "
        "before": summary.swap_p99_ms <= ALLOWED_SLOWDOWN * summary.steady_p99_ms,
        f"the rollback took {summary.rollback_command_ms:.0f} ms, and {_ms(back_ms)} to its first "
        "verdict": back_ms is not None and back_ms <= ALLOWED_ROLLBACK_MS,
    }
    summary.broken.extend(said for said, kept in promises.items() if not kept)
    return summary


def report_loop(record: LoopRecord, out: Path, console: Console) -> int:
    """Print the figures and write them to `out`/loop.json; 1 where a promise was broken."""
    summary = summarise_loop(record)
    write_atomic(out / "loop.json", (json.dumps(asdict(summary), indent=2) + "\n").encode())
    console.print(_table(summary))
    console.print(
        f"latency p99 {summary.steady_p99_ms:.1f} ms while parts passed, "
        f"{summary.swap_p99_ms:.1f} ms from promotion to the end of the swap "
        f"({summary.swap_p99_ms / summary.steady_p99_ms:.2f} times)"
    )
    console.print(
        f"rollback: {summary.rollback_command_ms:.0f} ms the command, "
        f"{_ms(summary.rollback_verdict_ms)} to the first verdict of the old engine"
    )
    took = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in summary.seconds.items())
    console.print(f"took: {took}")
    for sentence in summary.broken:
        console.print(headed("broken:", sentence, "bold red"))
    if not summary.broken:
        console.print(
            f"{summary.verdicts} frames, exactly one verdict each, across the swap and back",
            style="bold green",
        )
    return 1 if summary.broken else 0


def _table(summary: LoopSummary) -> Table:
    table = Table(title="wrong of parts: good ones rejected, defective ones passed")
    for heading in ("parts", "first engine", "after the swap", "of these never learned from"):
        table.add_column(heading)
    after = {count.kind: count for count in summary.after}
    golden = {count.kind: count for count in summary.after_golden}
    for count in summary.before:
        cells = (_cell(one) for one in (count, after.get(count.kind), golden.get(count.kind)))
        table.add_row(count.kind, *cells)
    return table


def _cell(count: KindVerdicts | None) -> str:
    if count is None:
        return "-"
    unknown = f", {count.unknown} unknown" if count.unknown else ""
    return f"{count.wrong} of {count.parts}{unknown}"


def _ms(value: float | None) -> str:
    return "never came" if value is None else f"{value:.0f} ms"


def count_kinds(rows: Sequence[VerdictRow], names: Mapping[str, str]) -> list[KindVerdicts]:
    """Count parts by what they truly show, good ones first.

    Args:
        rows: verdicts of parts whose truth is known.
        names: picture `.../KIND/NAME.png` by part id.
    """
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        by_kind.setdefault(kind_of_picture(names[row["part_id"]]), []).append(row["decision"])
    return [
        KindVerdicts(
            kind,
            len(said),
            said.count(Decision.NG if kind == GOOD else Decision.OK),
            said.count(Decision.UNKNOWN),
        )
        for kind, said in sorted(by_kind.items(), key=lambda pair: (pair[0] != GOOD, pair[0]))
    ]


def latency_ms(row: VerdictRow) -> float:
    """From capture to the verdict's entry in the stream, milliseconds."""
    return published_ms(row) - int(row["captured_ns"]) / 1e6


def published_ms(row: VerdictRow) -> int:
    """When the verdict came into the stream, Redis's clock, milliseconds since the epoch."""
    return int(str(row["result_id"]).split("-", 1)[0])


def percentile_ms(
    rows: Sequence[VerdictRow], share: float, since_ms: float, until_ms: float
) -> float:
    """Percentile of the latency of frames captured in a span of time; NaN where there is none."""
    inside = [latency_ms(row) for row in rows if since_ms <= row["captured_ns"] / 1e6 < until_ms]
    return float(np.percentile(inside, share)) if inside else float("nan")


def engine_runs(rows: Sequence[VerdictRow]) -> list[tuple[str, int]]:
    """Which engines judged, one after the other as verdicts came out: (SHA-256, verdicts)."""
    runs: list[tuple[str, int]] = []
    for row in rows:
        if row["engine"] is None:
            continue
        sha256 = row["engine"]["sha256"]
        if runs and runs[-1][0] == sha256:
            runs[-1] = (sha256, runs[-1][1] + 1)
        else:
            runs.append((sha256, 1))
    return runs


def first_by(rows: Iterable[VerdictRow], sha256: str, since_ms: float) -> int | None:
    """When the first verdict of an engine came after a moment, ms since the epoch; None: never."""
    return next(
        (
            published_ms(row)
            for row in rows
            if row["engine"] and row["engine"]["sha256"] == sha256 and published_ms(row) >= since_ms
        ),
        None,
    )
