from fakes.bridge import report_at
from hypothesis import given
from hypothesis import strategies as st

from pipeline.bridge.face import Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.report import TRIGGER_IDS, Code, ReasonCode
from pipeline.bridge.slots import SLOTS, Ack, Slots

LATE_MS = 1e9


def slots(margin_ms: float = 0.0) -> Slots:
    return Slots(Freshness(margin_ms))


def read_all(ring: Slots, now_ms: float = 0.0) -> None:
    ring.note_read(range(SLOTS), now_ms)


def outcomes(ring: Slots, now_ms: float = 0.0) -> dict[str, Outcome]:
    return dict(ring.settle(now_ms))


def test_verdict_past_its_deadline_is_shown_as_unknown_and_then_undelivered() -> None:
    ring = slots(margin_ms=20)
    assert ring.put(report_at(3, due_ms=100), 0.0) is Outcome.PENDING
    shown = ring.read(79.0)[3]
    assert shown is not None
    assert shown.code is Code.OK
    late = ring.read(80.0)[3]
    assert late is not None
    assert (late.code, late.reason) == (Code.UNKNOWN, ReasonCode.UNDELIVERED)
    assert outcomes(ring, 79.0) == {}
    assert outcomes(ring, 80.0) == {"cam-1-3": Outcome.UNDELIVERED}
    assert outcomes(ring, 80.0) == {}
    assert ring.undelivered == 1


def test_stale_verdict_never_enters_the_ring() -> None:
    ring = slots()
    assert ring.put(report_at(3, due_ms=100), 100.0) is Outcome.STALE
    assert ring.read(0.0) == [None] * SLOTS
    assert ring.undelivered == 1


def test_nothing_is_live_while_redis_time_is_not_known() -> None:
    ring = slots()
    assert ring.put(report_at(3), None) is Outcome.STALE
    ring.put(report_at(4), 0.0)
    shown = ring.read(None)[4]
    assert shown is not None
    assert shown.code is Code.UNKNOWN


def test_acknowledgement_covers_what_was_read_and_is_not_newer() -> None:
    ring = slots()
    for trigger_id in (1, 2, 3):
        ring.put(report_at(trigger_id), 0.0)
    read_all(ring)
    assert ring.acknowledge(1, 2) is Ack.TAKEN
    assert outcomes(ring) == {"cam-1-1": Outcome.DELIVERED, "cam-1-2": Outcome.DELIVERED}
    assert ring.busy


def test_verdict_that_comes_after_a_newer_acknowledgement_waits_to_be_read() -> None:
    ring = slots()
    ring.put(report_at(12), 0.0)
    read_all(ring)
    ring.acknowledge(1, 12)
    ring.put(report_at(11), 0.0)
    assert ring.acknowledge(1, 12) is Ack.REPEATED
    assert outcomes(ring) == {"cam-1-12": Outcome.DELIVERED}
    read_all(ring)
    ring.acknowledge(1, 12)
    assert outcomes(ring) == {"cam-1-11": Outcome.DELIVERED}


def test_acknowledgement_of_what_was_never_read_settles_nothing() -> None:
    ring = slots()
    ring.put(report_at(5), 0.0)
    assert ring.acknowledge(1, 5) is Ack.NEVER_READ
    read_all(ring)
    assert ring.acknowledge(1, 6) is Ack.NEVER_READ
    assert ring.acknowledge(1, 5 << 16) is Ack.NEVER_READ  # the words exchanged
    assert ring.acknowledge(2, 5) is Ack.OTHER_EPOCH
    assert outcomes(ring) == {}


def test_acknowledgement_that_runs_backwards_settles_nothing() -> None:
    ring = slots()
    for trigger_id in (5, 6, 7):
        ring.put(report_at(trigger_id), 0.0)
    read_all(ring)
    assert ring.acknowledge(1, 6) is Ack.TAKEN
    assert ring.acknowledge(1, 5) is Ack.BACKWARDS
    assert set(outcomes(ring)) == {"cam-1-5", "cam-1-6"}


def test_trigger_ids_go_on_after_the_last_of_32_bits() -> None:
    ring = slots()
    ring.put(report_at(TRIGGER_IDS - 1), 0.0)
    ring.put(report_at(0), 0.0)
    assert ring.newest is not None
    assert ring.newest.trigger_id == 0
    read_all(ring)
    assert ring.acknowledge(1, TRIGGER_IDS - 1) is Ack.TAKEN
    assert ring.acknowledge(1, 0) is Ack.TAKEN
    assert len(outcomes(ring)) == 2


def test_overrun_is_counted_when_a_live_verdict_was_replaced_unread() -> None:
    ring = slots()
    ring.put(report_at(1, due_ms=50), 0.0)
    ring.put(report_at(9), 0.0)
    assert ring.overruns == 1
    read_all(ring)
    ring.put(report_at(17), 0.0)
    assert ring.overruns == 1
    assert outcomes(ring, 60.0) == {"cam-1-1": Outcome.UNDELIVERED}


def test_older_verdict_does_not_take_the_slot_of_a_newer_one() -> None:
    ring = slots()
    ring.put(report_at(9), 0.0)
    ring.put(report_at(1), 0.0)
    shown = ring.read(0.0)[1]
    assert shown is not None
    assert shown.trigger_id == 9


def test_new_numbering_empties_the_ring() -> None:
    ring = slots()
    ring.put(report_at(50_000), 0.0)
    read_all(ring)
    ring.put(report_at(1, epoch=2), 0.0)
    shown = [report for report in ring.read(0.0) if report]
    assert [report.trigger_id for report in shown] == [1]
    assert ring.newest is not None
    assert ring.newest.epoch == 2


def test_read_but_not_confirmed_verdict_is_settled_as_such_at_its_deadline() -> None:
    ring = slots()
    ring.put(report_at(1, due_ms=50), 0.0)
    read_all(ring)
    assert outcomes(ring, 50.0) == {"cam-1-1": Outcome.UNCONFIRMED}
    assert ring.undelivered == 0


def test_reading_a_stale_slot_does_not_count_as_reading_the_verdict() -> None:
    ring = slots()
    ring.put(report_at(1, due_ms=50), 0.0)
    read_all(ring, 50.0)
    assert outcomes(ring, 50.0) == {"cam-1-1": Outcome.UNDELIVERED}


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 30), st.integers(1, 400)),
        st.tuples(st.just("read"), st.integers(0, 7), st.integers(1, 8)),
        st.tuples(st.just("ack"), st.integers(0, 31), st.integers(0, 3)),
        st.tuples(st.just("wait"), st.integers(0, 100), st.just(0)),
    ),
    max_size=60,
)


@given(first=st.integers(0, TRIGGER_IDS - 1), margin=st.integers(0, 50), steps=STEPS)
def test_no_sequence_shows_a_stale_verdict_or_settles_one_twice(  # noqa: C901  # a model
    first: int, margin: int, steps: list[tuple[str, int, int]]
) -> None:
    ring, now_ms = slots(margin), 0.0
    offered, dues, read_live, settled = set[str](), dict[int, float](), set[str](), list[str]()
    for step, one, two in steps:
        if step == "put":
            trigger_id = (first + one) % TRIGGER_IDS
            report = report_at(trigger_id, due_ms=now_ms + two)
            if report.result_id in offered:
                continue  # a verdict comes once while a bridge runs
            offered.add(report.result_id)
            dues[trigger_id] = report.due_ms
            if ring.put(report, now_ms) is Outcome.STALE:
                settled.append(report.result_id)
        elif step == "read":
            positions = [at % SLOTS for at in range(one, one + two)]
            for at in positions:
                shown = ring.read(now_ms)[at]
                if shown is not None and shown.code is Code.OK:
                    read_live.add(shown.result_id)
            ring.note_read(positions, now_ms)
        elif step == "ack":
            ring.acknowledge(1 + two // 3, (first + one) % TRIGGER_IDS)
        else:
            now_ms += one
        for at, shown in enumerate(ring.read(now_ms)):
            if shown is not None:
                assert shown.trigger_id % SLOTS == at
                live = dues[shown.trigger_id] - margin - now_ms >= 1
                assert (shown.code is Code.OK) == live
        for result_id, outcome in ring.settle(now_ms):
            settled.append(result_id)
            assert outcome is not Outcome.DELIVERED or result_id in read_live
    settled += [result_id for result_id, _ in ring.settle(LATE_MS)]
    assert sorted(settled) == sorted(offered)
    assert ring.busy is False
