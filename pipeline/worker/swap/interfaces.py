"""What a swap needs of its worker and its line."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pipeline.telemetry import Telemetry
from pipeline.worker.active_engine import KEPT, Serving
from pipeline.worker.judge import Limits


class Agreement(Protocol):
    """What the workers of a line agree on; `streams.swaps.Swaps` is one."""

    @property
    def worker(self) -> str:
        """In whose name this one speaks."""
        ...

    def hold(self, lasts_ms: int) -> bool:
        """Be the one that swaps; False while another is."""
        ...

    def let_go(self) -> None:
        """Leave it to the next."""
        ...

    def lives(self, worker: str) -> bool:
        """Whether a worker of the line beats."""
        ...

    def note(self, promotion: str, was: bytes, now: bytes) -> bool:
        """Change what is known of a promotion; False where it is not `was` any more."""
        ...

    def noted(self, promotion: str) -> bytes:
        """What is known of a promotion; b"" where that is nothing."""
        ...

    def notes(self) -> dict[str, bytes]:
        """What is known of every promotion."""
        ...


class Follower(Protocol):
    """Brings in other engines; `swapper.Swapper` is one."""

    def run(self) -> None:
        """Follow until the worker drains."""
        ...

    def look(self) -> None:
        """Look at once."""
        ...

    def says(self) -> str:
        """What it is at, for people."""
        ...


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each step may take, and how much of it is wanted."""

    look_s: float = 0.2  # between two looks at the registry
    shadow_share: float = 0.1  # of live frames
    shadow_frames: int = 50  # that the newcomer scores before it judges
    shadow_s: float = 60.0  # it judges then, however many it scored
    watch_frames: int = KEPT  # verdicts after which the newcomer stays
    watch_s: float = 600.0  # it stays then, however many it gave
    slower: float = 1.5  # times the incumbent's time of a batch that are still in the band


@dataclass(frozen=True, slots=True)
class Around:
    """The worker around a swap."""

    name: str
    telemetry: Telemetry
    limits: Callable[[Serving], Limits]
    set_by_hand: Callable[[], object]  # thresholds; equal for as long as nobody changes them
    spare: Callable[[], bool]  # no frame waits and no lane is busy
    no_lane_uses_it: Callable[[], None]  # wait until every lane has handed its batch over
    unseen_s: Callable[[], float]  # for how long Redis has not answered
    draining: threading.Event
