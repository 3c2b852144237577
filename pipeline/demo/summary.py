"""What was decided of parts whose truth is known: by kind, with misses and false rejects."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.frames import Decision

GOOD = "good"


@dataclass(frozen=True, slots=True)
class KindSummary:
    """The parts of one kind."""

    name: str  # `good`, or what is wrong with them
    decisions: Counter[str]

    @property
    def parts(self) -> int:
        """How many there were."""
        return self.decisions.total()

    @property
    def misses(self) -> int:
        """Defective parts that were called OK."""
        return 0 if self.name == GOOD else self.decisions[Decision.OK]

    @property
    def false_rejects(self) -> int:
        """Good parts that were called NG."""
        return self.decisions[Decision.NG] if self.name == GOOD else 0


@dataclass(frozen=True, slots=True)
class RunSummary:
    """What came of all parts."""

    kinds: tuple[KindSummary, ...]
    parts_per_s: float  # first to last verdict
    latency_ms: tuple[float, float]  # capture to verdict, median and 99th percentile
    inference_ms: float  # median, of a frame's batch

    @property
    def parts(self) -> int:
        """How many there were."""
        return sum(kind.parts for kind in self.kinds)


def kind_of_part(verdict: dict[str, Any]) -> str:
    """What is truly wrong with a part, from its id `KIND/NAME`."""
    return str(verdict["part_id"]).rpartition("/")[0] or GOOD


def is_wrong(verdict: dict[str, Any]) -> bool:
    """Return whether a verdict misses a defect or rejects a good part."""
    wrong = Decision.NG if kind_of_part(verdict) == GOOD else Decision.OK
    return bool(verdict["decision"] == wrong)


def summarise_run(verdicts: list[dict[str, Any]]) -> RunSummary:
    """Sum up verdicts as `pipeline-consume` prints them; part ids are `KIND/NAME`."""
    names = sorted(
        {kind_of_part(verdict) for verdict in verdicts}, key=lambda name: (name != GOOD, name)
    )
    kinds = tuple(
        KindSummary(name, Counter(one["decision"] for one in verdicts if kind_of_part(one) == name))
        for name in sorted(names, key=lambda name: (name != GOOD, name))
    )
    published_ms = np.array([int(one["result_id"].split("-")[0]) for one in verdicts], float)
    captured_ms = np.array([one["captured_ns"] for one in verdicts], float) / 1e6
    took_s = max(float(np.ptp(published_ms)) / 1e3, 1e-3)
    late_ms = published_ms - captured_ms
    inference_ms = [one["timings"]["inference_ms"] for one in verdicts if one["timings"]]
    return RunSummary(
        kinds,
        (len(verdicts) - 1) / took_s,
        (float(np.percentile(late_ms, 50)), float(np.percentile(late_ms, 99))),
        float(np.median(inference_ms)) if inference_ms else float("nan"),
    )


def show(summary: RunSummary, console: Console) -> None:
    """Print the table of kinds, and rate and latency below it."""
    table = Table("parts", "n", "OK", "NG", "UNKNOWN", "missed", "falsely rejected")
    for kind in summary.kinds:
        counts = [str(kind.decisions[decision]) for decision in Decision]
        missed = "" if kind.name == GOOD else str(kind.misses)
        rejected = str(kind.false_rejects) if kind.name == GOOD else ""
        table.add_row(kind.name, str(kind.parts), *counts, missed, rejected)
    total = Counter[str]()
    for kind in summary.kinds:
        total += kind.decisions
    table.add_section()
    table.add_row(
        "all",
        str(summary.parts),
        *(str(total[decision]) for decision in Decision),
        str(sum(kind.misses for kind in summary.kinds)),
        str(sum(kind.false_rejects for kind in summary.kinds)),
    )
    console.print(table)
    p50, p99 = summary.latency_ms
    console.print(
        f"rate {summary.parts_per_s:.1f} parts/s   capture to verdict p50 {p50:.1f} ms, "
        f"p99 {p99:.1f} ms   of which inference {summary.inference_ms:.1f} ms"
    )
