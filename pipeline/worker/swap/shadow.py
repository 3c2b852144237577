"""The candidate beside the incumbent: both score the same live frames, one verdict counts."""

import threading
from collections import deque
from dataclasses import dataclass

from engines.engine import ALL_MAPS, NO_MAPS, Pixels
from pipeline.worker.active_engine import LoadedEngine
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.judge import DecisionThresholds, FrameScore, checked_summary, normalise

FRAMES_KEPT = 4  # frames kept for the candidate: newer ones push older ones out
NG_FRAMES_KEPT = 16  # the same of those that the incumbent calls NG


@dataclass(frozen=True, slots=True)
class _Sample:
    pixels: Pixels  # [H, W, 3]
    score: float  # the incumbent's
    thresholds: DecisionThresholds
    camera: str

    @property
    def ng(self) -> bool:
        return self.score > self.thresholds.image


@dataclass(frozen=True, slots=True)
class Disagreement:
    """How far two engines differ on the same frames."""

    frames: int = 0
    decisions: int = 0  # frames that one calls OK and the other NG
    largest: float = 0.0  # difference of two scores, both normalised to 0..1
    mean: float = 0.0
    ng: int = 0  # frames that the incumbent calls NG
    passed: int = 0  # of those the candidate calls OK

    def sentence(self) -> str:
        """Return the comparison as a sentence."""
        return (
            f"{self.decisions} of {self.frames} decisions differ, normalised scores by "
            f"{self.mean:.3f} on average and {self.largest:.3f} at most; {self.passed} of "
            f"{self.ng} NG would pass"
        )


class ShadowRun:
    """A candidate that scores a share of the frames that were just judged, and every NG."""

    def __init__(self, candidate: LoadedEngine, share: float) -> None:
        self._candidate = candidate
        self._share = share
        self._owed = 0.0
        self._samples: deque[_Sample] = deque(maxlen=FRAMES_KEPT)
        self._rejects: deque[_Sample] = deque(maxlen=NG_FRAMES_KEPT)
        self._ready = threading.Event()
        self.seen = Disagreement()

    def offer(
        self,
        batch: list[InFlightFrame],
        frame_scores: list[FrameScore],
        thresholds: DecisionThresholds,
    ) -> None:
        """Take a share of a batch; lanes may race for one frame more or less."""
        for frame, frame_score in zip(batch, frame_scores, strict=True):
            sample = _Sample(frame.pixels, frame_score.score, thresholds, frame.header.meta.camera)
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
        """Frames of the share that the candidate has scored; NG ones are beside it."""
        return self.seen.frames - self.seen.ng

    def wait(self, timeout_s: float) -> bool:
        """Wait until a frame is there for the candidate."""
        return self._ready.wait(timeout_s)

    def score_one(self, thresholds: DecisionThresholds) -> None:
        """Score the latest frame with the candidate.

        Args:
            thresholds: the thresholds that its verdicts would be given with.

        Raises:
            EngineError: it failed, or gave what is no number.
        """
        waiting = self._rejects or self._samples
        try:
            sample = waiting.pop()
        except IndexError:
            self._ready.clear()
            return
        zones = thresholds.zones
        maps_above = NO_MAPS if zones is None else ALL_MAPS
        scores = self._candidate.lanes[0].score(sample.pixels[None], maps_above)
        checked_summary(scores)
        score = float(scores.score[0])
        if zones is not None:
            score = zones.of(sample.camera).score(scores.maps[0], thresholds.pixel).score
        self._count(sample, score, thresholds)

    def _count(self, sample: _Sample, score: float, thresholds: DecisionThresholds) -> None:
        seen, usual = self.seen, normalise(sample.score, sample.thresholds.image)
        difference = abs(normalise(score, thresholds.image) - usual)
        differ = (score > thresholds.image) != sample.ng
        frames = seen.frames + 1
        self.seen = Disagreement(
            frames,
            seen.decisions + differ,
            max(seen.largest, difference),
            seen.mean + (difference - seen.mean) / frames,
            seen.ng + sample.ng,
            seen.passed + (sample.ng and differ),
        )
