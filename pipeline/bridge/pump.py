"""The loop of a bridge: verdicts in, reports out, acknowledged when they are settled."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from pipeline.bridge.face import Face, Outcome
from pipeline.bridge.freshness import Freshness
from pipeline.bridge.report import Epochs, VerdictReport, report_of
from pipeline.bridge.stop_signal import StopRule, StopSignal
from pipeline.bridge.watchdog import WHY, ErrorCode, Watchdog
from pipeline.control import LineStatus
from pipeline.errors import BridgeFailed
from pipeline.frames import Verdict
from pipeline.logs import CountedEvents

WAIT_S = 0.01  # for a verdict, while nothing else is to do
_LOG_EVERY_S = 10.0
_log = logging.getLogger(__name__)
_WHY_STALE = "past their deadline when the bridge got them: never shown to a gate"
_WHY = {
    Outcome.STALE: ("bridge.stale", _WHY_STALE),
    Outcome.UNDELIVERED: ("bridge.undelivered", "the PLC did not read them before their deadline"),
    Outcome.PARKED: ("bridge.parked", "the receiver refuses them: see the file of parked reports"),
    Outcome.HOMELESS: ("bridge.homeless", "of no camera that this bridge shows (--cameras)"),
}


class VerdictSource(Protocol):
    """Where verdicts come from; `consumer.Verdicts` is one."""

    @property
    def stopped(self) -> bool:
        """Return whether no more verdicts will come."""
        ...

    def next(self, timeout_s: float) -> Verdict | None:
        """Return the next verdict, or None."""
        ...

    def acknowledge(self, verdict: Verdict) -> None:
        """Send that this verdict is dealt with."""
        ...

    def line_state(self) -> LineStatus:
        """Return what is known of the line now."""
        ...


class BridgeFigures(Protocol):
    """What a bridge counts; `metrics.BridgeMetrics` is one."""

    def settled(self, outcome: Outcome, report: VerdictReport, age_ms: float | None) -> None:
        """Count a report by what became of it; its age since capture where it was delivered."""
        ...

    def state(self, heartbeat: int, pending: int, stopped: int) -> None:
        """Store the present values."""
        ...


@dataclass(frozen=True, slots=True)
class _Pending:
    """A report that is not settled, and what to acknowledge then."""

    verdict: Verdict
    report: VerdictReport


class Pump:
    """Moves the verdicts of one line to one face."""

    def __init__(
        self,
        verdicts: VerdictSource,
        face: Face,
        figures: BridgeFigures,
        freshness: Freshness,
        rule: StopRule,
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._verdicts = verdicts
        self._face = face
        self._figures = figures
        self._freshness = freshness
        self._clock = clock
        self._pause = pause
        self._epochs = Epochs()
        self._stop_signal = StopSignal(rule)
        self._watchdog = Watchdog()
        self._pending: dict[str, _Pending] = {}
        self._events = CountedEvents(_log, _LOG_EVERY_S, clock)
        self._error = WHY[ErrorCode.REDIS]  # until the first answer

    def not_ready(self) -> str:
        """Return why the heartbeat stands still, or nothing; from any thread."""
        return self._error

    def run(self) -> None:
        """Move verdicts until no more will come.

        Raises:
            BridgeFailed: the face can no longer work.
            PipelineError: what ended the verdicts.
        """
        try:
            while not self._verdicts.stopped:
                self.step()
        finally:
            self._settle()
            self._events.flush()

    def step(self) -> None:
        """Show the state, collect what is settled, and hand over one verdict if there is one."""
        status = self._verdicts.line_state()
        self._show(status)
        self._settle()
        if why := self._face.failure():
            raise BridgeFailed(why)
        full = len(self._pending) >= self._face.most_pending
        if full or status.redis_ms is None:  # without Redis's time nothing can be called live
            self._pause(WAIT_S)
            return
        verdict = self._verdicts.next(WAIT_S)
        if verdict is not None:
            self._hand_over(verdict)
        self._events.flush(every_s=_LOG_EVERY_S)

    def _show(self, status: LineStatus) -> None:
        for request in self._face.requests():
            if request.clear_stop and self._stop_signal.clear(request.camera):
                _log.warning("bridge.stop_cleared", extra={"camera": request.camera})
        state = self._watchdog.beat(status, self._clock(), self._stop_signal.raised)
        self._face.show(state)
        self._figures.state(state.heartbeat, len(self._pending), len(state.stopped))
        if state.error != self._error:
            self._error = state.error
            if state.error:
                _log.error("bridge.heartbeat_stopped", extra={"why": state.error})
            else:
                _log.info("bridge.heartbeat", extra={"workers": len(status.workers)})

    def _settle(self) -> None:
        for result_id, outcome in self._face.settled():
            pending = self._pending.pop(result_id, None)
            if pending is not None:
                self._finish(pending, outcome)

    def _hand_over(self, verdict: Verdict) -> None:
        epoch = self._epochs.epoch_of(verdict.meta.camera, verdict.meta.seq)
        report = report_of(verdict, epoch)
        pending = _Pending(replace(verdict, judgement=None), report)
        outcome = self._deliver(report)
        if outcome is Outcome.PENDING:
            self._pending[report.result_id] = pending
        else:
            self._finish(pending, outcome)

    def _deliver(self, report: VerdictReport) -> Outcome:
        live = self._freshness.is_live(report, self._verdicts.line_state().redis_ms)
        if not self._face.gate:
            return self._face.deliver(replace(report, historical=not live))
        if not report.identified:
            return Outcome.HOMELESS
        if not live:
            self._face.skip(report)
            return Outcome.STALE
        if why := self._stop_signal.note(report):
            _log.error("bridge.stop_raised", extra={"camera": report.camera, "why": why})
        return self._face.deliver(report)

    def _finish(self, pending: _Pending, outcome: Outcome) -> None:
        self._verdicts.acknowledge(pending.verdict)
        now_ms = self._verdicts.line_state().redis_ms
        age_ms = None if now_ms is None else now_ms - pending.report.captured_ns / 1e6
        self._figures.settled(outcome, pending.report, age_ms)
        if outcome in _WHY:
            event, why = _WHY[outcome]
            last = f"{pending.report.camera}:{pending.report.seq}"
            self._events.add(event, 1, last=last, why=why)
