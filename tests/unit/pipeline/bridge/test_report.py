import pytest
from fakes.bridge import report_at, verdict_at
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.freshness import Freshness
from pipeline.bridge.report import (
    CODES,
    REASON_CODES,
    TRIGGER_IDS,
    Code,
    Epochs,
    is_newer,
    report_of,
)
from pipeline.frames import Decision, FrameMeta, Reason, Verdict


def test_every_decision_and_reason_has_a_code_and_none_of_them_is_nothing() -> None:
    assert set(CODES) == set(Decision)
    assert Code.NOTHING not in CODES.values()
    assert set(REASON_CODES) == {None, *Reason}
    assert len(set(REASON_CODES.values())) == len(REASON_CODES)


def test_only_ok_is_ok() -> None:
    assert [decision for decision, code in CODES.items() if code is Code.OK] == [Decision.OK]
    assert Code.OK == 1


def test_deadline_is_of_redis_clock_and_of_the_cameras_where_redis_has_none() -> None:
    assert report_of(verdict_at(1, due_ms=77), 1).due_ms == 77
    meta = FrameMeta("cam", 1, "p", 0, deadline_ns=5_000_000)
    assert report_of(Verdict("line", meta, Decision.OK, None, None, "1-1"), 1).due_ms == 5


def test_trigger_id_is_the_seq_modulo_32_bits() -> None:
    assert report_of(verdict_at(TRIGGER_IDS + 7), 1).trigger_id == 7


def test_verdict_that_names_no_frame_is_not_identified() -> None:
    assert not report_of(verdict_at(-1, camera=""), 1).identified


@given(st.integers(0, TRIGGER_IDS - 1), st.integers(1, TRIGGER_IDS // 2 - 1))
def test_order_of_trigger_ids_survives_the_end_of_32_bits(start: int, ahead: int) -> None:
    later = (start + ahead) % TRIGGER_IDS
    assert is_newer(later, start)
    assert not is_newer(start, later)
    assert not is_newer(start, start)


def test_epoch_changes_when_the_numbering_restarts_and_not_by_reordering() -> None:
    epochs = Epochs()
    assert [epochs.epoch_of("cam", seq) for seq in (9000, 8990, 9001)] == [1, 1, 1]
    assert epochs.epoch_of("other", 1) == 1
    assert [epochs.epoch_of("cam", seq) for seq in (1, 2)] == [2, 2]


@pytest.mark.parametrize(
    ("due_ms", "now_ms", "left"),
    [(100, 0, 80), (100, 80.5, -1), (1e9, 0, 32_767), (0, 1e9, -32_768), (100, None, -32_768)],
)
def test_time_left_is_rounded_down_and_fits_a_signed_register(
    due_ms: float, now_ms: float | None, left: int
) -> None:
    assert Freshness(20).ms_left(report_at(1, due_ms), now_ms) == left


@given(st.floats(0, 1e12), st.floats(0, 1e12), st.floats(0, 1e4))
def test_live_means_that_less_than_the_margin_is_never_left(
    due_ms: float, now_ms: float, margin_ms: float
) -> None:
    report = report_at(1, due_ms)
    if Freshness(margin_ms).is_live(report, now_ms):
        assert due_ms - now_ms > margin_ms
