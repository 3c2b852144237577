"""What the show of a learning line calls a broken promise."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.demo.loop.report import LoopRecord, Rollback, summarise_loop

START_MS = 1_000_000
NAMES = {"0000": "test/good/0.png", "0001": "test/stain/0.png"}


def row(seq: int, sha256: str, late_ms: float = 50.0, decision: str = "OK") -> dict[str, Any]:
    captured_ms = START_MS + 1000 * seq
    return {
        "camera": "cam-1",
        "seq": seq,
        "part_id": f"{seq % 2:04}",
        "decision": decision,
        "captured_ns": captured_ms * 1_000_000,
        "result_id": f"{captured_ms + late_ms:.0f}-0",
        "engine": {"sha256": sha256},
    }


def course() -> LoopRecord:
    """Ten frames by the old engine, ten by the new one, ten by the old one again."""
    rows = [row(seq, "new" if 10 <= seq < 20 else "old") for seq in range(30)]
    return LoopRecord(
        names=NAMES,
        golden=frozenset({"0001"}),
        before=[row(0, "old", decision="NG"), row(1, "old")],
        after=[row(10, "new"), row(11, "new", decision="NG")],
        rows=rows,
        engines=("old", "new"),
        steady_ms=(START_MS, START_MS + 8000),
        swap_ms=(START_MS + 8000, START_MS + 12000),
        rollback=Rollback(START_MS + 19_500, START_MS + 19_900),
        seconds={},
        reconciled={"broken": []},
    )


def test_a_course_that_kept_everything_has_nothing_broken() -> None:
    summary = summarise_loop(course())
    assert summary.broken == []
    assert [(each.kind, each.wrong) for each in summary.before] == [("good", 1), ("stain", 1)]
    assert [(each.kind, each.wrong) for each in summary.after] == [("good", 0), ("stain", 0)]
    assert [each.kind for each in summary.after_golden] == ["stain"]
    assert summary.rollback_verdict_ms == 550


def changed(rows: list[Any]) -> LoopRecord:
    return replace(course(), rows=rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (changed([*course().rows, course().rows[3]]), "1 frames have two verdicts"),
        (changed([row(seq, "old") for seq in range(30)]), "judged in the order"),
        (
            changed([*course().rows[:9], row(9, "old", late_ms=76.0), *course().rows[10:]]),
            "p99 during the swap was",
        ),
        (changed(list(course().rows[:20])), "never came to its first verdict"),
        (replace(course(), rollback=Rollback(0.0, 1e9)), "the rollback took"),
        (replace(course(), reconciled={"broken": ["a part is open"]}), "a part is open"),
    ],
)
def test_what_was_not_kept_is_said(given: LoopRecord, said: str) -> None:
    assert any(said in sentence for sentence in summarise_loop(given).broken), summarise_loop(
        given
    ).broken
