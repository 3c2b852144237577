"""A bridge in this process between a real server and a client of its target."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.bridge.face import Face, Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.pump import Pump
from pipeline.bridge.report import VerdictReport
from pipeline.bridge.stop_signal import StopRule
from pipeline.consumer import Consumer
from pipeline.wire import encode_report
from rigs.line import Plant

MANY_MS = 600_000
Clock = Callable[[], float | None]


class Counted:
    """The figures of a bridge, as lists."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[int, Outcome]] = []
        self.heartbeat = 0

    def settled(self, outcome: Outcome, report: VerdictReport, age_ms: float | None) -> None:
        del age_ms
        self.outcomes.append((report.seq, outcome))

    def state(self, heartbeat: int, pending: int, stopped: int) -> None:
        del pending, stopped
        self.heartbeat = heartbeat

    def of(self, outcome: Outcome) -> list[int]:
        return [seq for seq, said in self.outcomes if said is outcome]


@dataclass
class Bridge:
    """A running bridge."""

    face: Face
    figures: Counted
    pump: Pump


@contextmanager
def bridge(
    plant: Plant,
    url: str,
    face_of: Callable[[Clock], Face],
    *,
    program: str = "bridge",
    freshness: Freshness = Freshness(),  # noqa: B008  # frozen
    rule: StopRule = StopRule(),  # noqa: B008  # frozen
) -> Iterator[Bridge]:
    """Run a bridge of a line whose program is known to it, with a worker that beats."""
    plant.worker("alive").send_heartbeat(encode_report({"engine": "fixed"}), MANY_MS)
    failures: list[Exception] = []
    with Consumer(plant.name, program, redis_url=url) as verdicts:
        face, figures = face_of(verdicts.redis_ms), Counted()
        face.start()
        pump = Pump(verdicts, face, figures, freshness, rule)

        def run() -> None:
            try:
                pump.run()
            except Exception as error:  # noqa: BLE001  # raised below
                failures.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield Bridge(face, figures, pump)
        finally:
            verdicts.stop()
            thread.join()
            face.stop()
    if failures:
        raise failures[0]
