"""What is said of a line that learned."""

import math
from typing import Any

from pipeline.demo.loop.report import (
    KindVerdicts,
    count_kinds,
    count_repeated,
    engine_runs,
    first_by,
    percentile_ms,
)


def _row(seq: int, decision: str, sha256: str | None = "a", late_ms: float = 5.0) -> dict[str, Any]:
    captured_ms = 1_000_000 + 100 * seq
    return {
        "camera": "cam-1",
        "seq": seq,
        "part_id": f"{seq:04}",
        "decision": decision,
        "captured_ns": captured_ms * 1_000_000,
        "result_id": f"{captured_ms + late_ms:.0f}-0",
        "engine": None if sha256 is None else {"sha256": sha256},
    }


def test_wrong_means_rejected_for_good_parts_and_passed_for_bad_ones() -> None:
    names = {"0000": "test/good/0.png", "0001": "test/good/1.png", "0002": "test/stain/0.png"}
    rows = [_row(0, "NG"), _row(1, "OK"), _row(2, "OK")]
    assert count_kinds(rows, names) == [
        KindVerdicts("good", 2, 1, 0),
        KindVerdicts("stain", 1, 1, 0),
    ]


def test_unknown_is_neither_right_nor_wrong() -> None:
    names = {"0000": "test/stain/0.png"}
    assert count_kinds([_row(0, "UNKNOWN")], names) == [KindVerdicts("stain", 1, 0, 1)]


def test_a_frame_with_two_verdicts_is_counted_once() -> None:
    rows = [_row(0, "OK"), _row(0, "OK"), _row(0, "NG"), _row(1, "OK")]
    assert count_repeated(rows) == 1


def test_percentile_is_of_frames_captured_in_the_span() -> None:
    rows = [_row(0, "OK", late_ms=100), _row(1, "OK", late_ms=5), _row(2, "OK", late_ms=7)]
    assert percentile_ms(rows, 50, 1_000_100, 1_000_300) == 6.0
    assert math.isnan(percentile_ms(rows, 50, 0, 1))


def test_engines_are_told_in_the_order_in_which_they_judged() -> None:
    rows = [_row(0, "OK"), _row(1, "OK", None), _row(2, "OK"), _row(3, "OK", "b"), _row(4, "OK")]
    assert engine_runs(rows) == [("a", 2), ("b", 1), ("a", 1)]


def test_first_verdict_of_an_engine_is_looked_for_after_a_moment() -> None:
    rows = [_row(0, "OK"), _row(1, "OK", "b"), _row(2, "OK")]
    assert first_by(rows, "a", 1_000_101) == 1_000_205
    assert first_by(rows, "c", 0) is None
