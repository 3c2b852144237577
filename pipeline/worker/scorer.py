"""The scorer: batches of frames in flight -> the engine -> the writer."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from engines.admission.timing import CostCurve
from engines.engine import ALL_MAPS, Floats, MapSummary, Pixels, Scores
from engines.errors import EngineError
from pipeline.frames import Reason
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.batching import NS_PER_MS, BatchDecision, WaitingFrame, decide_batch
from pipeline.worker.context import RejectedFrames, ScoredBatch, WorkerContext
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.judge import DecisionThresholds, FrameScore, checked_summary
from pipeline.worker.writer import Writer

PACE_WEIGHT = 0.1  # of the newest batch in the running ratio of measured to expected time
PACE_LEAST, PACE_MOST = 0.01, 4.0
PACE_EASED = 0.9  # the ratio falls so much when frames are given up and none is left to measure
FAILURES_TO_STOP = 10  # in a row: this engine is gone, others must take the frames
_log = logging.getLogger(__name__)


class Scorer:
    """Keeps one lane busy, of whichever engine is in force."""

    def __init__(
        self,
        context: WorkerContext,
        active: ActiveEngine,
        lane: int,
        batch_wait_ms: float,
        writer: Writer,
        thresholds: Callable[[LoadedEngine], DecisionThresholds],
    ) -> None:
        self._in_flight = context.in_flight
        self._outbox = context.outbox
        self._shutdown = context.shutdown
        self._active = active
        self._lane = lane
        self._batch_wait_ms = batch_wait_ms
        self._writer = writer
        self._thresholds = thresholds
        self._turn = threading.Lock()  # held by whoever uses the engine and what it returns
        self._loaded = active.current  # of this turn
        self._frames = self._room_for(self._loaded.max_batch)
        self._pace = 1.0
        self._failures = 0
        self._busy_since_s: float | None = None

    def run(self) -> None:
        """Score until the frames in flight are closed and empty."""
        while (picked := self._in_flight.next_batch(self._take_turn)) is not None:
            batch, late = picked
            if late:
                entries = [frame.entry for frame in late]
                why = "no time left to score it"
                self._outbox.put(RejectedFrames(entries, Reason.LATE, why, tuple(late)))
            if batch:
                self._score_in_turn(batch)
            else:
                self._ease_pace()

    def try_score(self, frame: InFlightFrame) -> bool:
        """Score a frame in the caller's thread; False, and nothing done, if that cannot be now."""
        if not self._take_turn([frame.waiting], time.time_ns()).batch:
            return False
        self._score_in_turn([frame])
        self._in_flight.notify()
        return True

    def busy_s(self) -> float:
        """For how long the engine has been at its present batch."""
        since = self._busy_since_s
        return 0.0 if since is None else time.monotonic() - since

    def wait_for_batch(self) -> None:
        """Wait until the batch that this lane may be at is handed over."""
        with self._turn:
            pass

    def expected_ms(self, batch: int) -> float:
        """How long a batch takes: the curve times how it went lately, and its publication."""
        return self._loaded.curve.ms(batch) * self._pace + self._writer.publish_ms()

    def _take_turn(self, waiting: Sequence[WaitingFrame], now_ns: int) -> BatchDecision:
        """Decide what to do now; with a batch comes the turn. Nothing while the engine is busy."""
        if not self._turn.acquire(blocking=False):
            return BatchDecision((), (), None)
        loaded = self._active.current
        if loaded is not self._loaded:
            self._loaded, self._failures = loaded, 0
        if self._lane >= len(loaded.lanes):  # this engine has fewer
            self._turn.release()
            return BatchDecision((), (), None)
        decision = decide_batch(
            waiting, now_ns, self.expected_ms, loaded.max_batch, self._batch_wait_ms
        )
        if not decision.batch:
            self._turn.release()
        return decision

    def _score_in_turn(self, batch: list[InFlightFrame]) -> None:
        try:
            self._score(batch)
        finally:
            self._turn.release()

    def _score(self, batch: list[InFlightFrame]) -> None:
        frames = self._stacked(batch)
        thresholds = self._thresholds(self._loaded)
        started_ns = time.time_ns()
        try:
            scores, took_ms = self._timed(frames, thresholds)
            summary = checked_summary(scores)
            frame_scores = _frame_scores(batch, scores, summary, thresholds)
        except EngineError as error:
            self._failed(batch, error)
            return
        self._failures = 0
        self._update_pace(len(batch), took_ms)
        scored = ScoredBatch(batch, frame_scores, started_ns, took_ms, self._loaded, thresholds)
        self._hand_over(scored)
        if (shadow := self._active.shadow) is not None:
            shadow.offer(batch, frame_scores, thresholds)

    def _hand_over(self, scored: ScoredBatch) -> None:
        """Publish in this thread where nothing else waits for it, else leave it to the writer."""
        if self._in_flight.is_empty() and self._writer.try_publish(scored):
            return
        own = [
            replace(frame_score, anomaly_map=_copied(frame_score.anomaly_map))
            for frame_score in scored.frame_scores
        ]
        self._outbox.put(replace(scored, frame_scores=own))  # the engine reuses its arrays

    def _stacked(self, batch: list[InFlightFrame]) -> Pixels:
        """Lay the frames of a batch side by side; one alone needs no copy."""
        if len(batch) == 1:
            return batch[0].pixels[np.newaxis]
        if len(batch) > len(self._frames):
            self._frames = self._room_for(self._loaded.max_batch)
        frames = self._frames[: len(batch)]
        for slot, frame in zip(frames, batch, strict=True):
            np.copyto(slot, frame.pixels)
        return frames

    def _room_for(self, batch: int) -> Pixels:
        return np.empty((batch, *self._loaded.lanes[0].input_size, 3), np.uint8)

    def _timed(self, frames: Pixels, thresholds: DecisionThresholds) -> tuple[Scores, float]:
        self._busy_since_s = began_s = time.monotonic()
        try:
            above = thresholds.pixel if thresholds.zones is None else ALL_MAPS
            scores = self._loaded.lanes[self._lane].score(frames, maps_above=above)
            return scores, (time.monotonic() - began_s) * 1e3
        finally:
            self._busy_since_s = None

    def _failed(self, batch: list[InFlightFrame], error: EngineError) -> None:
        if len(batch) > 1:  # one frame's fault is not the others'
            for frame in batch:
                self._score([frame])
            return
        self._failures += 1
        _log.error("engine.failed", extra={"why": str(error), "in_a_row": self._failures})
        self._outbox.put(RejectedFrames([batch[0].entry], Reason.ENGINE, str(error), tuple(batch)))
        if self._failures >= FAILURES_TO_STOP:
            why = f"the engine failed {self._failures} times in a row: {error}"
            if not self._active.roll_back(self._loaded, why):
                self._shutdown.fail(why)

    def _update_pace(self, batch: int, took_ms: float) -> None:
        ratio = took_ms / max(self._loaded.curve.ms(batch), 1e-3)
        self._pace += PACE_WEIGHT * (min(max(ratio, PACE_LEAST), PACE_MOST) - self._pace)

    def _ease_pace(self) -> None:
        """Expect less: who gives up every frame never learns that the engine is fast again."""
        self._pace = max(self._pace * PACE_EASED, PACE_LEAST)


def _frame_scores(
    batch: Sequence[InFlightFrame],
    scores: Scores,
    summary: MapSummary,
    thresholds: DecisionThresholds,
) -> list[FrameScore]:
    """Take a batch apart; maps are those of the engine, and only those that have a mask.

    Raises:
        ZoneError: the zones do not fit the engine's frames.
    """
    marked = summary.peak > thresholds.pixel
    cells = summary.cells.reshape(len(marked), -1).tolist()
    nearest = scores.nearest.tolist() if scores.nearest is not None else None
    distance = scores.distance.tolist() if scores.distance is not None else None
    plain = [
        FrameScore(
            float(score),
            scores.maps[index] if marked[index] else None,
            tuple(cells[index]),
            tuple(nearest[index]) if nearest else (),
            tuple(distance[index]) if distance else (),
        )
        for index, score in enumerate(scores.score)
    ]
    if thresholds.zones is None:
        return plain
    return [
        _within_zones(frame, frame_score, anomaly_map, thresholds)
        for frame, frame_score, anomaly_map in zip(batch, plain, scores.maps, strict=True)
    ]


def _within_zones(
    frame: InFlightFrame,
    frame_score: FrameScore,
    anomaly_map: Floats,
    thresholds: DecisionThresholds,
) -> FrameScore:
    """Replace an engine's score by what its map says within the zones of the camera."""
    assert thresholds.zones is not None  # noqa: S101  # the caller looked
    zones = thresholds.zones.of(frame.header.meta.camera)
    found = zones.score(anomaly_map, thresholds.pixel)
    kept = anomaly_map if found.has_mask else None
    return replace(frame_score, score=found.score, anomaly_map=kept, zones=zones, zone=found.zone)


def _copied(anomaly_map: Floats | None) -> Floats | None:
    return None if anomaly_map is None else anomaly_map.copy()


def worst_case_s(curve: CostCurve, max_batch: int) -> float:
    """After how long at one batch an engine counts as stuck."""
    return max(10.0, 20 * curve.ms(max_batch) * NS_PER_MS / 1e9)
