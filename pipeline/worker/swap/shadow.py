"""The newcomer beside the incumbent: both score the same live frames, one verdict counts."""

import threading
from collections import deque
from dataclasses import dataclass

from engines.engine import NO_MAPS, Pixels
from pipeline.worker.active_engine import Serving
from pipeline.worker.in_flight import Held
from pipeline.worker.judge import Limits, Row, checked_summary, normalise

WAITING = 4  # frames kept for the newcomer: newer ones push older ones out
NG_WAITING = 16  # the same of those that the incumbent calls NG


@dataclass(frozen=True, slots=True)
class _Sample:
    pixels: Pixels  # [H, W, 3]
    score: float  # the incumbent's
    limits: Limits

    @property
    def ng(self) -> bool:
        return self.score > self.limits.image


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How far two engines differ on the same frames."""

    frames: int = 0
    decisions: int = 0  # frames that one calls OK and the other NG
    largest: float = 0.0  # difference of two scores, both normalised to 0..1
    mean: float = 0.0
    ng: int = 0  # frames that the incumbent calls NG
    passed: int = 0  # of those the newcomer calls OK

    def sentence(self) -> str:
        """Say it."""
        return (
            f"{self.decisions} of {self.frames} decisions differ, normalised scores by "
            f"{self.mean:.3f} on average and {self.largest:.3f} at most; {self.passed} of "
            f"{self.ng} NG would pass"
        )


class ShadowRun:
    """Lets a newcomer score a share of the frames that were just judged, and every NG."""

    def __init__(self, newcomer: Serving, share: float) -> None:
        self._newcomer = newcomer
        self._share = share
        self._owed = 0.0
        self._samples: deque[_Sample] = deque(maxlen=WAITING)
        self._rejects: deque[_Sample] = deque(maxlen=NG_WAITING)
        self._ready = threading.Event()
        self.seen = Disagreement()

    def offer(self, batch: list[Held], rows: list[Row], limits: Limits) -> None:
        """Take a share of a batch; lanes may race for one frame more or less."""
        for held, row in zip(batch, rows, strict=True):
            sample = _Sample(held.pixels, row.score, limits)
            if sample.ng:
                self._rejects.append(sample)
                self._ready.set()
                continue
            self._owed += self._share
            if self._owed >= 1.0:
                self._owed -= 1.0
                self._samples.append(sample)
                self._ready.set()

    @property
    def by_chance(self) -> int:
        """Frames of the share that the newcomer has scored; NG ones are beside it."""
        return self.seen.frames - self.seen.ng

    def wait(self, timeout_s: float) -> bool:
        """Wait until a frame is there for the newcomer."""
        return self._ready.wait(timeout_s)

    def score_one(self, limits: Limits) -> None:
        """Let the newcomer score the latest frame.

        Args:
            limits: the thresholds that its verdicts would be given with.

        Raises:
            EngineError: it failed, or gave what is no number.
        """
        waiting = self._rejects or self._samples
        try:
            sample = waiting.pop()
        except IndexError:
            self._ready.clear()
            return
        scores = self._newcomer.lanes[0].score(sample.pixels[None], NO_MAPS)
        checked_summary(scores)
        self._count(sample, float(scores.score[0]), limits)

    def _count(self, sample: _Sample, score: float, limits: Limits) -> None:
        seen, usual = self.seen, normalise(sample.score, sample.limits.image)
        difference = abs(normalise(score, limits.image) - usual)
        differ = (score > limits.image) != sample.ng
        frames = seen.frames + 1
        self.seen = Disagreement(
            frames,
            seen.decisions + differ,
            max(seen.largest, difference),
            seen.mean + (difference - seen.mean) / frames,
            seen.ng + sample.ng,
            seen.passed + (sample.ng and differ),
        )
