"""What a swap needs of its worker and its line."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.telemetry import Telemetry
from pipeline.worker.active_engine import VERDICTS_KEPT, LoadedEngine
from pipeline.worker.judge import DecisionThresholds


class SwapCoordinator(Protocol):
    """What the workers of a line agree on; `RedisSwapCoordinator` in streams is one."""

    @property
    def worker(self) -> str:
        """In whose name this one speaks."""
        ...

    def acquire_lease(self, lasts_ms: int) -> bool:
        """Be the one that swaps; False while another is."""
        ...

    def release_lease(self) -> None:
        """Leave it to the next."""
        ...

    def is_alive(self, worker: str) -> bool:
        """Return whether a worker of the line beats."""
        ...

    def compare_and_set(self, promotion: str, was: bytes, now: bytes) -> bool:
        """Change what is known of a promotion; False where it is not `was` any more."""
        ...

    def read_record(self, promotion: str) -> bytes:
        """What is known of a promotion; b"" where that is nothing."""
        ...

    def read_records(self) -> dict[str, bytes]:
        """What is known of every promotion."""
        ...


class Follower(Protocol):
    """Brings in other engines; `controller.SwapController` is one."""

    def run(self) -> None:
        """Follow until the worker drains."""
        ...

    def look(self) -> None:
        """Look at once."""
        ...

    def status(self) -> str:
        """What it is at, for people."""
        ...


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How long each step may take, and how much of it is wanted."""

    look_s: float = 0.2  # between two looks at the registry
    shadow_share: float = 0.1  # of live frames
    shadow_frames: int = 50  # that the candidate scores before it judges
    shadow_s: float = 60.0  # it judges then, however many it scored
    watch_frames: int = VERDICTS_KEPT  # verdicts after which the candidate stays
    watch_s: float = 600.0  # it stays then, however many it gave
    slower: float = 1.5  # times the incumbent's time of a batch that are still in the band


@dataclass(frozen=True, slots=True)
class WorkerHandle:
    """The worker around a swap."""

    name: str
    telemetry: Telemetry
    thresholds: Callable[[LoadedEngine], DecisionThresholds]
    manual_thresholds: Callable[[], object]  # thresholds; equal for as long as nobody changes them
    has_spare_time: Callable[[], bool]  # no frame waits and no lane is busy
    wait_for_lanes: Callable[[], None]  # wait until every lane has handed its batch over
    redis_silence_s: Callable[[], float]  # for how long Redis has not answered
    draining: threading.Event
