from hypothesis import given
from hypothesis import strategies as st

from pipeline.worker.batching import NS_PER_MS, WaitingFrame, decide_batch

MS = NS_PER_MS
NOW = 10**18


def flat(_batch: int) -> float:
    return 5.0


def rising(batch: int) -> float:
    return 2.0 + 3.0 * batch


def waiting(*left_ms: float) -> list[WaitingFrame]:
    return [WaitingFrame(NOW + int(left * MS), NOW) for left in left_ms]


def test_free_engine_takes_what_is_there_at_once() -> None:
    decision = decide_batch(waiting(100, 100), NOW, flat, 8, 0.0)
    assert (decision.batch, decision.late, decision.wake_ns) == ((0, 1), (), None)


def test_frame_without_time_for_even_itself_is_late() -> None:
    decision = decide_batch(waiting(4, 100), NOW, flat, 8, 0.0)
    assert (decision.batch, decision.late) == ((1,), (0,))


def test_batch_shrinks_until_its_earliest_deadline_holds() -> None:
    decision = decide_batch(waiting(100, 12, 100, 100), NOW, rising, 8, 0.0)
    assert decision.batch == (1, 0, 2)


def test_earliest_deadline_goes_first() -> None:
    decision = decide_batch(waiting(300, 100, 200), NOW, flat, 2, 0.0)
    assert decision.batch == (1, 2)


def test_frame_waits_for_company_only_as_long_as_its_deadline_allows() -> None:
    patient = decide_batch(waiting(1000), NOW, rising, 8, 50.0)
    assert (patient.batch, patient.wake_ns) == ((), NOW + 50 * MS)
    pressed = decide_batch(waiting(20), NOW, rising, 8, 50.0)
    assert (pressed.batch, pressed.wake_ns) == ((), NOW + (20 - 8) * MS)


def test_full_batch_does_not_wait() -> None:
    assert decide_batch(waiting(1000, 1000), NOW, flat, 2, 50.0).batch == (0, 1)


def test_suspect_shares_its_batch_with_nobody() -> None:
    suspect = WaitingFrame(NOW + 50 * MS, NOW, alone=True)
    assert decide_batch([*waiting(100, 200), suspect], NOW, flat, 8, 0.0).batch == (2,)
    patient = WaitingFrame(NOW + 500 * MS, NOW, alone=True)
    assert decide_batch([patient, *waiting(100, 200)], NOW, flat, 8, 0.0).batch == (1, 2)


frames = st.builds(
    WaitingFrame,
    st.integers(NOW - 100 * MS, NOW + 200 * MS),
    st.integers(NOW - 100 * MS, NOW),
    st.booleans(),
)


@given(st.lists(frames, max_size=40), st.integers(1, 16), st.floats(0, 100), st.floats(0.1, 40))
def test_every_frame_is_in_one_place_and_every_batch_in_time(
    held: list[WaitingFrame], max_batch: int, max_wait_ms: float, one_ms: float
) -> None:
    def cost(batch: int) -> float:
        return one_ms * (1 + 0.3 * (batch - 1))

    decision = decide_batch(held, NOW, cost, max_batch, max_wait_ms)
    assert not set(decision.batch) & set(decision.late)
    assert len(set(decision.batch)) == len(decision.batch) <= max_batch
    took_ns = int(cost(len(decision.batch)) * MS) if decision.batch else 0
    assert all(held[index].deadline_ns >= NOW + took_ns - 1 for index in decision.batch)
    assert all(held[index].deadline_ns < NOW + int(cost(1) * MS) for index in decision.late)
    left = [frame for at, frame in enumerate(held) if at not in {*decision.batch, *decision.late}]
    if decision.batch:
        last = max(held[index].deadline_ns for index in decision.batch)
        assert all(frame.deadline_ns >= last or frame.alone for frame in left)
    else:
        assert not left or (decision.wake_ns is not None and decision.wake_ns > NOW)
