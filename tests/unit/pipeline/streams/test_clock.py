from hypothesis import given
from hypothesis import strategies as st

from pipeline.streams.clock import ServerClock

AHEAD_MS = 7_000.0


class Machine:
    """This machine and a server whose clock is `ahead_ms` ahead of its monotonic clock."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.ahead_ms = AHEAD_MS
        self.clock = ServerClock(lambda: self.now_s)

    def true_ms(self) -> float:
        return self.now_s * 1e3 + self.ahead_ms

    def ask(self, there_s: float, back_s: float) -> None:
        sent_s = self.clock.monotonic_s()
        self.now_s += there_s
        server_ms = self.true_ms()
        self.now_s += back_s
        self.clock.note(server_ms, sent_s)

    def error_ms(self) -> float:
        reckoned = self.clock.now_ms()
        assert reckoned is not None
        return reckoned - self.true_ms()


seconds = st.floats(0.0, 5.0)


def test_nothing_is_known_before_the_first_answer() -> None:
    assert ServerClock().now_ms() is None


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=20))
def test_reckoned_time_is_never_behind_and_ahead_by_the_best_way_there_at_most(
    trips: list[tuple[float, float]],
) -> None:
    machine = Machine()
    for there_s, back_s in trips:
        machine.ask(there_s, back_s)
    drift_ms = 1e-3 * 1e3 * sum(map(sum, trips))
    best_ms = min(there_s for there_s, _ in trips) * 1e3
    assert -1e-6 <= machine.error_ms() <= best_ms + drift_ms + 1e-6


@given(st.floats(-1e8, 1e8).filter(lambda step: abs(step) > 1000), seconds)
def test_stepped_server_clock_is_learnt_with_the_next_answer(step_ms: float, way_s: float) -> None:
    machine = Machine()
    machine.ask(0.001, 0.001)
    machine.ahead_ms += step_ms
    machine.ask(0.001, 0.001)
    assert abs(machine.error_ms()) < 10
    machine.ask(way_s, 0.0)
    assert -1e-6 <= machine.error_ms() < 20
