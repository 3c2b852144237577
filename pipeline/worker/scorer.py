"""The scorer: batches from the tray -> the engine -> the outbox."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from engines.admission.timing import CostCurve
from engines.engine import Floats, Pixels, Scores, Summary
from engines.errors import EngineError
from pipeline.frames import Reason
from pipeline.worker.active_engine import InForce, Serving
from pipeline.worker.batching import NS_PER_MS, Plan, Waiting, plan_batch
from pipeline.worker.context import Post, Refused, Scored
from pipeline.worker.in_flight import Held
from pipeline.worker.judge import Limits, Row, checked_summary
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
        post: Post,
        in_force: InForce,
        lane: int,
        batch_wait_ms: float,
        writer: Writer,
        limits: Callable[[Serving], Limits],
    ) -> None:
        self._tray = post.tray
        self._outbox = post.outbox
        self._halt = post.halt
        self._in_force = in_force
        self._lane = lane
        self._batch_wait_ms = batch_wait_ms
        self._writer = writer
        self._limits = limits
        self._turn = threading.Lock()  # held by whoever uses the engine and what it returns
        self._serving = in_force.serving  # of this turn
        self._frames = self._room_for(self._serving.max_batch)
        self._pace = 1.0
        self._failures = 0
        self._busy_since_s: float | None = None

    def run(self) -> None:
        """Score until the tray is closed and empty."""
        while (picked := self._tray.next_batch(self._take_turn)) is not None:
            batch, late = picked
            if late:
                entries = [held.entry for held in late]
                why = "no time left to score it"
                self._outbox.put(Refused(entries, Reason.LATE, why, tuple(late)))
            if batch:
                self._score_in_turn(batch)
            else:
                self._ease_pace()

    def score_at_once(self, held: Held) -> bool:
        """Score a frame in the caller's thread; False, and nothing done, if that cannot be now."""
        if not self._take_turn([held.waiting], time.time_ns()).batch:
            return False
        self._score_in_turn([held])
        self._tray.look_again()
        return True

    def busy_s(self) -> float:
        """For how long the engine has been at its present batch."""
        since = self._busy_since_s
        return 0.0 if since is None else time.monotonic() - since

    def let_pass(self) -> None:
        """Wait until the batch that this lane may be at is handed over."""
        with self._turn:
            pass

    def expected_ms(self, batch: int) -> float:
        """How long a batch takes: the curve times how it went lately, and its publication."""
        return self._serving.curve.ms(batch) * self._pace + self._writer.publish_ms()

    def _take_turn(self, waiting: Sequence[Waiting], now_ns: int) -> Plan:
        """Decide what to do now; with a batch comes the turn. Nothing while the engine is busy."""
        if not self._turn.acquire(blocking=False):
            return Plan((), (), None)
        serving = self._in_force.serving
        if serving is not self._serving:
            self._serving, self._failures = serving, 0
        if self._lane >= len(serving.lanes):  # this engine has fewer
            self._turn.release()
            return Plan((), (), None)
        plan = plan_batch(waiting, now_ns, self.expected_ms, serving.max_batch, self._batch_wait_ms)
        if not plan.batch:
            self._turn.release()
        return plan

    def _score_in_turn(self, batch: list[Held]) -> None:
        try:
            self._score(batch)
        finally:
            self._turn.release()

    def _score(self, batch: list[Held]) -> None:
        frames = self._gathered(batch)
        limits = self._limits(self._serving)
        started_ns = time.time_ns()
        try:
            scores, took_ms = self._timed(frames, limits)
            summary = checked_summary(scores)
        except EngineError as error:
            self._failed(batch, error)
            return
        self._failures = 0
        self._learn_pace(len(batch), took_ms)
        rows = _rows(scores, summary, limits)
        scored = Scored(batch, rows, started_ns, took_ms, self._serving, limits)
        self._hand_over(scored)
        if (shadow := self._in_force.shadow) is not None:
            shadow.offer(batch, rows, limits)

    def _hand_over(self, scored: Scored) -> None:
        """Publish in this thread where nothing else waits for it, else leave it to the writer."""
        if self._tray.is_empty() and self._writer.publish_at_once(scored):
            return
        own = [replace(row, anomaly_map=_copied(row.anomaly_map)) for row in scored.rows]
        self._outbox.put(replace(scored, rows=own))  # the engine reuses its arrays

    def _gathered(self, batch: list[Held]) -> Pixels:
        """Lay the frames of a batch side by side; one alone needs no copy."""
        if len(batch) == 1:
            return batch[0].pixels[np.newaxis]
        if len(batch) > len(self._frames):
            self._frames = self._room_for(self._serving.max_batch)
        frames = self._frames[: len(batch)]
        for slot, held in zip(frames, batch, strict=True):
            np.copyto(slot, held.pixels)
        return frames

    def _room_for(self, batch: int) -> Pixels:
        return np.empty((batch, *self._serving.lanes[0].input_size, 3), np.uint8)

    def _timed(self, frames: Pixels, limits: Limits) -> tuple[Scores, float]:
        self._busy_since_s = began_s = time.monotonic()
        try:
            scores = self._serving.lanes[self._lane].score(frames, maps_above=limits.pixel)
            return scores, (time.monotonic() - began_s) * 1e3
        finally:
            self._busy_since_s = None

    def _failed(self, batch: list[Held], error: EngineError) -> None:
        if len(batch) > 1:  # one frame's fault is not the others'
            for held in batch:
                self._score([held])
            return
        self._failures += 1
        _log.error("engine.failed", extra={"why": str(error), "in_a_row": self._failures})
        self._outbox.put(Refused([batch[0].entry], Reason.ENGINE, str(error), tuple(batch)))
        if self._failures >= FAILURES_TO_STOP:
            why = f"the engine failed {self._failures} times in a row: {error}"
            if not self._in_force.go_back(self._serving, why):
                self._halt.fail(why)

    def _learn_pace(self, batch: int, took_ms: float) -> None:
        ratio = took_ms / max(self._serving.curve.ms(batch), 1e-3)
        self._pace += PACE_WEIGHT * (min(max(ratio, PACE_LEAST), PACE_MOST) - self._pace)

    def _ease_pace(self) -> None:
        """Expect less: who gives up every frame never learns that the engine is fast again."""
        self._pace = max(self._pace * PACE_EASED, PACE_LEAST)


def _rows(scores: Scores, summary: Summary, limits: Limits) -> list[Row]:
    """Take a batch apart; maps are those of the engine, and only those that have a mask."""
    marked = summary.peak > limits.pixel
    cells = summary.cells.reshape(len(marked), -1).tolist()
    nearest = scores.nearest.tolist() if scores.nearest is not None else None
    distance = scores.distance.tolist() if scores.distance is not None else None
    return [
        Row(
            float(score),
            scores.maps[index] if marked[index] else None,
            tuple(cells[index]),
            tuple(nearest[index]) if nearest else (),
            tuple(distance[index]) if distance else (),
        )
        for index, score in enumerate(scores.score)
    ]


def _copied(anomaly_map: Floats | None) -> Floats | None:
    return None if anomaly_map is None else anomaly_map.copy()


def worst_case_s(curve: CostCurve, max_batch: int) -> float:
    """After how long at one batch an engine counts as stuck."""
    return max(10.0, 20 * curve.ms(max_batch) * NS_PER_MS / 1e9)
