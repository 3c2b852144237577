"""What housekeeping does beside one long task."""

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from pipeline.streams.frame_consumer import Entry
from pipeline.worker.housekeeping import Housekeeping
from pipeline.worker.in_flight import InFlight

MOST_CLAIMS = 100_000


def nothing(*_: object) -> None:
    """Do nothing, whatever is asked."""


class DeadWorkersFrames:
    """The frames of a dead worker, without end until enough heartbeats were sent."""

    def __init__(self, enough: int, stop: Callable[[], None]) -> None:
        self.heartbeats = self.claims = 0
        self._enough, self._stop = enough, stop
        self.expire = nothing

    def take_over(self, _count: int) -> list[Entry]:
        self.claims += 1
        assert self.claims < MOST_CLAIMS, "no heartbeat while frames are taken over"
        return [Entry(f"{self.claims}-0", b"", None, 0)]

    def send_heartbeat(self, *_: object) -> None:
        self.heartbeats += 1
        if self.heartbeats == self._enough:
            self._stop()

    def __getattr__(self, _name: str) -> Any:  # noqa: ANN401
        return lambda *_: []


def test_heartbeats_go_on_while_many_frames_are_taken_over() -> None:
    draining = threading.Event()
    frames = DeadWorkersFrames(3, draining.set)
    context: Any = SimpleNamespace(
        frame_consumer=frames,
        controls=SimpleNamespace(since=lambda _: []),
        in_flight=InFlight(lambda: 8),
        drift_monitor=SimpleNamespace(statuses=list),
        telemetry=SimpleNamespace(taken_over=SimpleNamespace(inc=nothing)),
        shutdown=SimpleNamespace(draining=draining),
        connection=SimpleNamespace(
            fitness=SimpleNamespace(look=nothing), clocks=SimpleNamespace(look=nothing)
        ),
        rollback_watch=None,
        ring_readers=SimpleNamespace(close_departed=nothing),
    )
    decoder: Any = SimpleNamespace(add=nothing)
    peers: Any = SimpleNamespace(look=nothing)
    keeper = Housekeeping(context, decoder, lambda: b"report", nothing, peers)
    others = {"_count", "_trim", "_compare_clocks", "_look_for_damage"}
    keeper._tasks = [task for task in keeper._tasks if task[0].__name__ not in others]
    keeper._due_s = [0.0] * len(keeper._tasks)
    keeper.run()
    assert frames.heartbeats == 3
    assert frames.claims > 1
