"""Housekeeping: what a worker does for the line beside judging."""

import logging
import time
from collections.abc import Callable

from pipeline.control import FROM_THE_FIRST, LineState, apply_messages
from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit
from pipeline.streams.keys import WHY_DAMAGED
from pipeline.worker.context import WorkerContext
from pipeline.worker.peers import PeerComparison
from pipeline.worker.reader import EntryDecoder

TICK_S = 0.05
HEARTBEAT_EVERY_S = 0.25
HEARTBEAT_LASTS_MS = 1500
TAKE_OVER_EVERY_S = 0.5
TAKE_OVER_LASTS_S = 0.2
CONTROLS_EVERY_S = 0.2
COUNT_EVERY_S = 1.0
RINGS_EVERY_S = 5.0
SUSPECT_WAIT_S = 5.0
_log = logging.getLogger(__name__)


class Housekeeping:
    """Does each of its duties at its own pace."""

    def __init__(
        self,
        context: WorkerContext,
        decoder: EntryDecoder,
        report: Callable[[], bytes | None],
        look: Callable[[], object],
        peers: PeerComparison,
    ) -> None:
        self._frame_consumer = context.frame_consumer
        self._controls = context.controls
        self._in_flight = context.in_flight
        self._drift = context.drift_monitor
        self._telemetry = context.telemetry
        self._shutdown = context.shutdown
        self._decoder = decoder
        self._report = report
        self._on_look = look
        self._last_message_id = FROM_THE_FIRST
        self._redis_answered_s = time.monotonic()
        self.line_state = LineState()
        self._watch = context.rollback_watch
        self._tasks: list[tuple[Callable[[], object], float]] = [
            (self._look_back, TICK_S),  # first, for others to find the mark
            (self._frame_consumer.expire, TICK_S),
            (self._send_heartbeat, HEARTBEAT_EVERY_S),
            (self._take_over, TAKE_OVER_EVERY_S),
            (self._go_on_taking_over, TICK_S),
            (self.apply_control_messages, CONTROLS_EVERY_S),
            (self._count, COUNT_EVERY_S),
            (self._trim, COUNT_EVERY_S),
            (self._look_for_damage, COUNT_EVERY_S),
            (context.connection.fitness.look, COUNT_EVERY_S),
            (context.ring_readers.close_departed, RINGS_EVERY_S),
            (self._compare_clocks, COUNT_EVERY_S),
            (peers.look, COUNT_EVERY_S),
        ]
        self._clocks = context.connection.clocks
        self._damaged: set[str] = set()  # keys, as logged
        self._more_to_take_over = False
        self._refusals: dict[str, str] = {}  # by task: what Redis refuses it
        self._due_s = [0.0] * len(self._tasks)

    def add_task(self, task: Callable[[], object], every_s: float) -> None:
        """Add a duty; before `run`."""
        self._tasks.append((task, every_s))
        self._due_s.append(0.0)

    def run(self) -> None:
        """Keep until the worker drains."""
        while not self._shutdown.draining.wait(TICK_S):
            try:
                self._run_due(time.monotonic())
                self._redis_answered_s = time.monotonic()
            except (ConnectionLost, RedisFull) as error:
                self._telemetry.reconnects.inc()
                _log.warning("redis.away", extra={"why": str(error)})
                self._shutdown.draining.wait(TAKE_OVER_EVERY_S)

    def redis_silence_s(self) -> float:
        """For how long Redis has not answered the housekeeping."""
        return time.monotonic() - self._redis_answered_s

    def _run_due(self, now_s: float) -> None:
        for at, (task, every_s) in enumerate(self._tasks):
            if now_s >= self._due_s[at]:
                self._run_task(task)
                self._due_s[at] = now_s + every_s

    def _run_task(self, task: Callable[[], object]) -> None:
        """Do a task; one that Redis refuses keeps neither the others nor the judging waiting.

        Redis refuses one task for good where its key was overwritten with another kind of value,
        for instance. The worker is not ready then, and tries again until someone mends the key.
        """
        name = task.__name__.strip("_")
        try:
            task()
        except RedisUnfit as error:
            if self._refusals.get(name) != str(error):
                _log.error("task.refused", extra={"task": name, "why": str(error)})  # no bug
            self._refusals[name] = str(error)
        else:
            if self._refusals.pop(name, ""):
                _log.warning("task.resumed", extra={"task": name})

    def refused(self) -> str:
        """Return what Redis refuses to this worker's housekeeping, or nothing."""
        return next((f"{task}: {why}" for task, why in tuple(self._refusals.items())), "")

    def read_controls_first(self) -> None:
        """Apply the control messages of the line before any frame is judged, if they can be read.

        Raises:
            ConnectionLost: no answer.
        """
        self._run_task(self.apply_control_messages)

    def _send_heartbeat(self) -> None:
        report = self._report()
        if report is not None:
            self._frame_consumer.send_heartbeat(report, HEARTBEAT_LASTS_MS)

    def _take_over(self) -> None:
        """Take frames of dead workers one at a time, each judged alone: one may be the killer.

        It ends after a while, however many there are: a worker that sends no heartbeat meanwhile
        would be taken for dead itself, and its frames for those of a killer.
        """
        until_s = time.monotonic() + TAKE_OVER_LASTS_S
        self._more_to_take_over = True
        while not self._shutdown.draining.is_set() and self._in_flight.wait_for_suspects(0.0):
            entries = self._frame_consumer.take_over(1)
            if not entries:
                self._more_to_take_over = False
                return
            _log.warning("frame.taken_over", extra={"deliveries": entries[0].deliveries})
            self._telemetry.taken_over.inc()
            self._decoder.add(entries)
            self._in_flight.wait_for_suspects(TICK_S)
            if time.monotonic() > until_s:
                return

    def _go_on_taking_over(self) -> None:
        if self._more_to_take_over:
            self._take_over()

    def apply_control_messages(self) -> None:
        """Apply every control message that came since the last time."""
        before = self.line_state
        self.line_state, self._last_message_id = apply_messages(
            self._controls, self.line_state, self._last_message_id
        )
        if self.line_state != before:
            _log.info("control.heard", extra=self.line_state.log_fields())
        if self.line_state.looks != before.looks:
            self._on_look()

    def _look_back(self) -> None:
        if self._watch is not None:
            self._watch.look()
            self._telemetry.rollbacks.set(self._watch.rollbacks)

    def _compare_clocks(self) -> None:
        self._clocks.look()
        self._telemetry.clock_ahead.set(self._clocks.ahead_ms / 1e3)

    def _look_for_damage(self) -> None:
        for key in self._frame_consumer.put_aside():
            if key not in self._damaged:
                self._damaged.add(key)
                _log.error("books.damaged", extra={"key": key, "why": WHY_DAMAGED})

    def _count(self) -> None:
        self._telemetry.line_counts(self._frame_consumer.counts())
        frames, charged = self._frame_consumer.unanswered()
        self._telemetry.open_frames.set(frames)
        self._telemetry.open_bytes.set(charged)
        self._telemetry.show_drift(self._drift.statuses())

    def _trim(self) -> None:
        if trimmed := self._frame_consumer.trim():
            why = "verdicts take more than --results-mb: the oldest were dropped"
            _log.warning("results.trimmed", extra={"verdicts": trimmed, "why": why})
