import logging

import pytest
from fakes.bridge import WORKING, FakeFace, FakeVerdicts, verdict_at
from rigs.bridge import Counted

from pipeline.bridge.face import Outcome, PlcRequest
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.pump import Pump
from pipeline.bridge.stop_signal import StopRule
from pipeline.control import LineStatus
from pipeline.errors import BridgeFailed
from pipeline.frames import Decision


def pump_of(
    verdicts: FakeVerdicts, face: FakeFace, margin_ms: float = 0.0, rule: StopRule | None = None
) -> tuple[Pump, Counted]:
    counted = Counted()
    freshness, rule = Freshness(margin_ms), rule or StopRule()
    pump = Pump(verdicts, face, counted, freshness, rule, lambda: 0.0, lambda _: None)
    return pump, counted


def run(pump: Pump, steps: int) -> None:
    for _ in range(steps):
        pump.step()


def test_backlog_is_skipped_at_a_gate_and_all_of_it_acknowledged() -> None:
    verdicts = FakeVerdicts(*(verdict_at(seq, due_ms=100) for seq in range(50)), verdict_at(50))
    verdicts.set_time(420_000)
    face = FakeFace(gate=True)
    pump, counted = pump_of(verdicts, face)
    run(pump, 60)
    assert [report.seq for report in face.delivered] == [50]
    assert [report.seq for report in face.skipped] == list(range(50))
    assert counted.of(Outcome.STALE) == verdicts.acknowledged == list(range(50))


def test_backlog_reaches_a_record_in_order_and_marked_as_historical() -> None:
    verdicts = FakeVerdicts(*(verdict_at(seq, due_ms=100) for seq in range(50)), verdict_at(50))
    verdicts.set_time(420_000)
    face = FakeFace(gate=False, answer=Outcome.DELIVERED)
    pump, _ = pump_of(verdicts, face)
    run(pump, 60)
    assert [report.seq for report in face.delivered] == list(range(51))
    assert [report.seq for report in face.delivered if not report.historical] == [50]


def test_margin_counts_when_a_verdict_is_handed_over() -> None:
    face = FakeFace(gate=True)
    verdicts = FakeVerdicts(verdict_at(1, due_ms=100), verdict_at(2, due_ms=101))
    verdicts.set_time(80.0)
    pump, _ = pump_of(verdicts, face, margin_ms=20)
    run(pump, 2)
    assert [report.seq for report in face.delivered] == [2]


def test_nothing_is_taken_before_redis_time_is_known() -> None:
    face, verdicts = FakeFace(gate=True), FakeVerdicts(verdict_at(1))
    verdicts.set_time(None)
    pump, _ = pump_of(verdicts, face)
    run(pump, 3)
    assert (face.delivered, len(verdicts.waiting)) == ([], 1)


def test_redis_is_acknowledged_only_when_a_report_is_settled() -> None:
    face, verdicts = FakeFace(gate=True), FakeVerdicts(verdict_at(1), verdict_at(2))
    pump, counted = pump_of(verdicts, face)
    run(pump, 3)
    assert verdicts.acknowledged == []
    face.settling = [("cam-2", Outcome.DELIVERED), ("unheard-of", Outcome.DELIVERED)]
    run(pump, 1)
    face.settling = [("cam-2", Outcome.DELIVERED)]
    run(pump, 1)
    assert verdicts.acknowledged == [2]
    assert counted.outcomes == [(2, Outcome.DELIVERED)]


def test_pump_takes_no_more_than_the_face_may_have_pending() -> None:
    face = FakeFace(gate=False, most=2)
    verdicts = FakeVerdicts(*(verdict_at(seq) for seq in range(5)))
    pump, _ = pump_of(verdicts, face)
    run(pump, 10)
    assert [report.seq for report in face.delivered] == [0, 1]
    face.settling = [("cam-0", Outcome.DELIVERED)]
    run(pump, 2)
    assert [report.seq for report in face.delivered] == [0, 1, 2]


def test_verdict_without_identity_never_reaches_a_gate() -> None:
    face, verdicts = FakeFace(gate=True), FakeVerdicts(verdict_at(-1, camera=""))
    pump, counted = pump_of(verdicts, face)
    run(pump, 1)
    assert face.delivered == []
    assert counted.outcomes == [(-1, Outcome.HOMELESS)]


def test_ng_in_a_row_raise_the_stop_signal_until_the_plc_clears_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bad = [verdict_at(seq, decision=Decision.NG) for seq in range(3)]
    face, verdicts = FakeFace(gate=True), FakeVerdicts(*bad)
    pump, _ = pump_of(verdicts, face, rule=StopRule(after_ng=3))
    run(pump, 3)
    assert face.states[-1].stopped == ()
    run(pump, 1)
    assert face.states[-1].stopped == ("cam",)
    assert "bridge.stop_raised" in caplog.messages
    face.asked = [PlcRequest("cam", clear_stop=True)]
    run(pump, 1)
    assert face.states[-1].stopped == ()


def test_stale_verdicts_do_not_raise_the_stop_signal() -> None:
    face = FakeFace(gate=True)
    verdicts = FakeVerdicts(*(verdict_at(seq, 100, Decision.NG) for seq in range(5)))
    verdicts.set_time(200.0)
    pump, _ = pump_of(verdicts, face, rule=StopRule(after_ng=2))
    run(pump, 7)
    assert face.states[-1].stopped == ()


def test_broken_face_ends_the_bridge() -> None:
    face = FakeFace(gate=True)
    pump, _ = pump_of(FakeVerdicts(), face)
    face.broken = "the server has ended"
    with pytest.raises(BridgeFailed, match="has ended"):
        pump.step()


def test_heartbeat_stopping_is_logged_once_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    face, verdicts = FakeFace(gate=True), FakeVerdicts()
    pump, _ = pump_of(verdicts, face)
    run(pump, 2)
    assert pump.not_ready() == ""
    verdicts.status = LineStatus(redis_silence_s=5.0, redis_ms=0.0, workers=WORKING.workers)
    run(pump, 3)
    assert "Redis" in pump.not_ready()
    assert caplog.messages.count("bridge.heartbeat_stopped") == 1
    assert not face.states[-1].ready
