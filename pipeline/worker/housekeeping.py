"""The keeper: what a worker owes the line beside judging."""

import logging
import time
from collections.abc import Callable

from pipeline.control import FROM_THE_FIRST, Standing, heed
from pipeline.errors import ConnectionLost, RedisFull
from pipeline.worker.context import Post
from pipeline.worker.reader import Intake

TICK_S = 0.05
BEAT_EVERY_S = 0.25
BEAT_LASTS_MS = 1500
TAKE_OVER_EVERY_S = 0.5
CONTROLS_EVERY_S = 0.2
COUNT_EVERY_S = 1.0
SUSPECT_WAIT_S = 5.0
_log = logging.getLogger(__name__)


class Keeper:
    """Does each of its duties at its own pace."""

    def __init__(
        self,
        post: Post,
        intake: Intake,
        report: Callable[[], bytes | None],
        look: Callable[[], object],
    ) -> None:
        self._work = post.work
        self._controls = post.controls
        self._tray = post.tray
        self._drift = post.drift
        self._telemetry = post.telemetry
        self._halt = post.halt
        self._intake = intake
        self._report = report
        self._look = look
        self._heard = FROM_THE_FIRST
        self._seen_at_s = time.monotonic()
        self.standing = Standing()
        self._duties: list[tuple[Callable[[], object], float]] = [
            (self._work.expire, TICK_S),
            (self._beat, BEAT_EVERY_S),
            (self._take_over, TAKE_OVER_EVERY_S),
            (self.hear, CONTROLS_EVERY_S),
            (self._count, COUNT_EVERY_S),
            (self._trim, COUNT_EVERY_S),
            (post.link.fitness.look, COUNT_EVERY_S),
        ]
        self._due_s = [0.0] * len(self._duties)

    def run(self) -> None:
        """Keep until the worker drains."""
        while not self._halt.draining.wait(TICK_S):
            try:
                self._keep(time.monotonic())
                self._seen_at_s = time.monotonic()
            except (ConnectionLost, RedisFull) as error:
                self._telemetry.reconnects.inc()
                _log.warning("redis.away", extra={"why": str(error)})
                self._halt.draining.wait(TAKE_OVER_EVERY_S)

    def unseen_s(self) -> float:
        """For how long Redis has not answered the keeper."""
        return time.monotonic() - self._seen_at_s

    def _keep(self, now_s: float) -> None:
        for at, (duty, every_s) in enumerate(self._duties):
            if now_s >= self._due_s[at]:
                duty()
                self._due_s[at] = now_s + every_s

    def _beat(self) -> None:
        report = self._report()
        if report is not None:
            self._work.beat(report, BEAT_LASTS_MS)

    def _take_over(self) -> None:
        """Take frames of dead workers one at a time, each judged alone: one may be the killer."""
        while not self._halt.draining.is_set() and self._tray.wait_for_suspects(0.0):
            entries = self._work.take_over(1)
            if not entries:
                return
            _log.warning("frame.taken_over", extra={"deliveries": entries[0].deliveries})
            self._telemetry.taken_over.inc()
            self._intake.take(entries)
            self._tray.wait_for_suspects(TICK_S)

    def hear(self) -> None:
        """Apply every control message that came since the last time."""
        before = self.standing
        self.standing, self._heard = heed(self._controls, self.standing, self._heard)
        if self.standing != before:
            _log.info("control.heard", extra={"standing": str(self.standing)})
        if self.standing.looks != before.looks:
            self._look()

    def _count(self) -> None:
        self._telemetry.line_counts(self._work.counts())
        frames, charged = self._work.waiting()
        self._telemetry.open_frames.set(frames)
        self._telemetry.open_bytes.set(charged)
        self._telemetry.show_drift(self._drift.standings())

    def _trim(self) -> None:
        if trimmed := self._work.trim():
            why = "verdicts take more than --results-mb: the oldest were dropped"
            _log.warning("results.trimmed", extra={"verdicts": trimmed, "why": why})
