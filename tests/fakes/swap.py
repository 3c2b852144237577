"""What a swap is tested with: engines, a registry, the agreement of a line, a worker around it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from engines.admission.timing import CostCurve
from engines.engine import ALL_MAPS, Pixels, Scores
from engines.errors import EngineError, ScoringError
from engines.manifest import CostPoint, Thresholds
from pipeline.errors import ConnectionLost
from pipeline.frames import EngineName
from pipeline.telemetry import Telemetry
from pipeline.wire import RolloutRecord, decode_rollout_record, encode_rollout_record
from pipeline.worker.active_engine import LoadedEngine
from pipeline.worker.judge import DecisionThresholds
from pipeline.worker.swap.interfaces import WorkerHandle

CURVE = CostCurve.through([CostPoint(batch=1, median_ms=1, p99_ms=1)])
THRESHOLDS = Thresholds(image=0.5, pixel=0.5, method="chosen", normals=0)


class FlatEngine:
    """Says the same of every frame, or fails."""

    max_batch = 4

    def __init__(self, score: float = 0.0, side: int = 2) -> None:
        self.says = score
        self.input_size = (side, side)
        self.failing = False
        self.calls = 0
        self.asked: list[float] = []  # for maps above this
        self.closed = False

    def score(self, frames: Pixels, maps_above: float = ALL_MAPS) -> Scores:
        self.asked.append(maps_above)
        self.calls += 1
        if self.failing:
            raise ScoringError("gone")
        return Scores(
            np.full(len(frames), self.says, np.float32),
            np.zeros((len(frames), *self.input_size), np.float32),
        )

    def close(self) -> None:
        self.closed = True


def serving(version: str, *engines: FlatEngine) -> LoadedEngine:
    lanes = engines or (FlatEngine(),)
    return LoadedEngine(EngineName("flat", version, version), THRESHOLDS, lanes, CURVE, 2, version)


@dataclass(frozen=True)
class At:
    promoted: str
    at: str = "today"


class Shelf:
    """A registry that holds nothing but its promotions; an engine file lies where it is told to."""

    def __init__(self, promoted: str = "") -> None:
        self.promotions: list[At] = [At(promoted, at="first")] if promoted else []
        self.away = False
        self.fetched: list[str] = []
        self.marked: list[tuple[str, str, str, str]] = []

    def promote(self, version: str, at: str = "today") -> None:
        self.promotions.insert(0, At(version, at))

    def pointer(self) -> At | None:
        return next(iter(self.history()), None)

    def history(self) -> list[At]:
        if self.away:
            raise EngineError("nothing answers there")
        return list(self.promotions)

    def fetch(self, name: str, folder: Path) -> Path:
        self.fetched.append(name)
        (folder / name).mkdir(parents=True, exist_ok=True)
        return folder / name / "engine.onnx"

    def refuse(self, name: str, promoted_at: str, why: str, by: str) -> None:
        if self.away:
            raise EngineError("nothing can be written there")
        self.marked.append((name, promoted_at, why, by))


class Line:
    """What the workers of a line agree on, with a Redis that may be away."""

    def __init__(self, worker: str = "me") -> None:
        self.worker = worker
        self.holder = ""
        self.living = {"me"}
        self.promotions: dict[str, bytes] = {}
        self.away = False

    def acquire_lease(self, lasts_ms: int) -> bool:
        assert lasts_ms > 0
        self._ask()
        if self.holder not in {"", self.worker}:
            return False
        self.holder = self.worker
        return True

    def release_lease(self) -> None:
        self._ask()
        if self.holder == self.worker:
            self.holder = ""

    def is_alive(self, worker: str) -> bool:
        self._ask()
        return worker in self.living

    def compare_and_set(self, promotion: str, was: bytes, now: bytes) -> bool:
        self._ask()
        if self.promotions.get(promotion, b"") != was:
            return False
        self.promotions[promotion] = now
        if not now:
            del self.promotions[promotion]
        return True

    def read_record(self, promotion: str) -> bytes:
        self._ask()
        return self.promotions.get(promotion, b"")

    def read_records(self) -> dict[str, bytes]:
        self._ask()
        return dict(self.promotions)

    def put(self, record: RolloutRecord) -> None:
        """Note what another worker found."""
        self.promotions[f"{record.version} {record.promoted_at}"] = encode_rollout_record(record)

    def standing(self, version: str, at: str = "today") -> str:
        """What is known of a promotion, in a word."""
        packed = self.promotions.get(f"{version} {at}")
        return "" if packed is None else str(decode_rollout_record(packed).state)

    def _ask(self) -> None:
        if self.away:
            raise ConnectionLost("nothing answers there")


@dataclass
class Surroundings:
    """A worker with nothing to do, and what a test may change of it."""

    has_spare_time: bool = True
    by_hand: object = None
    threshold_of_old: float = THRESHOLDS.image
    redis_silence_s: float = 0.0
    passed: int = 0
    draining: threading.Event = field(default_factory=threading.Event)

    def wait_for_lanes(self) -> None:
        self.passed += 1

    def thresholds(self, one: LoadedEngine) -> DecisionThresholds:
        old = one.version == "old"
        image = self.threshold_of_old if old else one.thresholds.image
        return DecisionThresholds(image, one.thresholds.pixel)

    def handle(self) -> WorkerHandle:
        return WorkerHandle(
            "me",
            Telemetry("line"),
            self.thresholds,
            lambda: self.by_hand,
            lambda: self.has_spare_time,
            self.wait_for_lanes,
            lambda: self.redis_silence_s,
            self.draining,
        )


def answering(in_turn: list[bool]) -> Callable[[], bool]:
    """Return what says these in turn, then False for ever."""
    left = iter(in_turn)
    return lambda: next(left, False)
