"""Clocks that differ, or that someone sets while parts pass, are said once and said in time."""

import pytest

from pipeline.streams.server_checks import WARNING_MS, ClockComparison, ClockReading

Said = list[tuple[str, str, float]]  # event, clock, milliseconds


class Clocks:
    """Redis's clock and ours, read every two seconds."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.redis_s = self.ours_s = 1_000_000.0
        self.monotonic_s = 50.0
        self.comparison = ClockComparison(None)
        self._caplog = caplog

    def look(self, error_ms: float = 0.1) -> Said:
        """Advance by two seconds and return what is logged."""
        self._caplog.clear()
        for clock in ("redis_s", "ours_s", "monotonic_s"):
            setattr(self, clock, getattr(self, clock) + 2.0)
        self.comparison.compare(ClockReading(self.redis_s, self.ours_s, self.monotonic_s, error_ms))
        return [_said(vars(record)) for record in self._caplog.records]


def _said(fields: dict[str, object]) -> tuple[str, str, float]:
    ms = fields.get("by_ms", fields.get("redis_ahead_ms"))
    assert isinstance(ms, float)
    return str(fields["msg"]), str(fields.get("clock", "")), ms


@pytest.fixture
def clocks(caplog: pytest.LogCaptureFixture) -> Clocks:
    return Clocks(caplog)


def test_clocks_in_step_say_nothing(clocks: Clocks) -> None:
    assert [clocks.look() for _ in range(3)] == [[]] * 3


def test_difference_is_said_once_and_again_when_it_changes_or_ends(clocks: Clocks) -> None:
    clocks.redis_s += 0.1
    assert clocks.look() == [("clock.apart", "", pytest.approx(100, abs=0.1))]
    assert clocks.look() == []
    clocks.redis_s += 0.019
    assert clocks.look() == []
    clocks.redis_s += 10.0
    assert ("clock.apart", "", pytest.approx(10_119, abs=0.1)) in clocks.look()
    clocks.redis_s -= 10.119
    assert ("clock.together", "", pytest.approx(0, abs=0.1)) in clocks.look()
    assert clocks.look() == []


def test_step_of_redis_is_told_from_a_step_of_this_machine(clocks: Clocks) -> None:
    clocks.look()
    clocks.redis_s += 60.0
    assert ("clock.stepped", "redis", pytest.approx(60_000, abs=0.1)) in clocks.look()
    clocks.redis_s -= 60.0
    assert ("clock.stepped", "redis", pytest.approx(-60_000, abs=0.1)) in clocks.look()
    clocks.ours_s -= 10.0
    assert ("clock.stepped", "this machine", pytest.approx(-10_000, abs=0.1)) in clocks.look()


def test_step_of_both_clocks_at_once_is_said(clocks: Clocks) -> None:
    """As on one machine, where they never differ."""
    clocks.look()
    clocks.redis_s -= 3600.0
    clocks.ours_s -= 3600.0
    assert [(event, clock) for event, clock, _ in clocks.look()] == [
        ("clock.stepped", "redis"),
        ("clock.stepped", "this machine"),
    ]


def test_slow_answer_is_no_difference(clocks: Clocks) -> None:
    clocks.look()
    clocks.redis_s += 0.3
    assert clocks.look(error_ms=300.0 - WARNING_MS / 2) == []
