"""What came of a line that learned, from its verdicts: escapes, repetitions, latency, engines."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.frames import Decision
from pipeline.loop_parts import kind_of
from pipeline.outcome import GOOD

Row = Mapping[str, Any]  # a verdict as `pipeline-consume` prints it


@dataclass(frozen=True, slots=True)
class KindCount:
    """Parts of one kind that one engine judged."""

    kind: str
    parts: int
    wrong: int  # good parts called NG, defective ones called OK
    unknown: int


def count_kinds(rows: Sequence[Row], names: Mapping[str, str]) -> list[KindCount]:
    """Count parts by what they truly show, good ones first.

    Args:
        rows: verdicts of parts whose truth is known.
        names: picture `.../KIND/NAME.png` by part id.
    """
    by_kind: dict[str, list[str]] = {}
    for row in rows:
        by_kind.setdefault(kind_of(names[row["part_id"]]), []).append(row["decision"])
    return [
        KindCount(
            kind,
            len(said),
            said.count(Decision.NG if kind == GOOD else Decision.OK),
            said.count(Decision.UNKNOWN),
        )
        for kind, said in sorted(by_kind.items(), key=lambda pair: (pair[0] != GOOD, pair[0]))
    ]


def told_twice(rows: Iterable[Row]) -> int:
    """How many frames have more than one verdict."""
    frames = Counter((row["camera"], row["seq"]) for row in rows)
    return sum(1 for count in frames.values() if count > 1)


def latency_ms(row: Row) -> float:
    """From capture to the verdict's entry in the stream, milliseconds."""
    return published_ms(row) - int(row["captured_ns"]) / 1e6


def published_ms(row: Row) -> int:
    """When the verdict came into the stream, Redis's clock, milliseconds since the epoch."""
    return int(str(row["result_id"]).split("-", 1)[0])


def percentile_ms(rows: Sequence[Row], share: float, since_ms: float, until_ms: float) -> float:
    """Percentile of the latency of frames captured in a span of time; NaN where there is none."""
    inside = [latency_ms(row) for row in rows if since_ms <= row["captured_ns"] / 1e6 < until_ms]
    return float(np.percentile(inside, share)) if inside else float("nan")


def engine_runs(rows: Sequence[Row]) -> list[tuple[str, int]]:
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


def first_by(rows: Iterable[Row], sha256: str, since_ms: float) -> int | None:
    """When the first verdict of an engine came after a moment, ms since the epoch; None: never."""
    return next(
        (
            published_ms(row)
            for row in rows
            if row["engine"] and row["engine"]["sha256"] == sha256 and published_ms(row) >= since_ms
        ),
        None,
    )
