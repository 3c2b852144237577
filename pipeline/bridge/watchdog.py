"""The heartbeat of a bridge and the state beside it: it beats only while the line can answer."""

from enum import IntEnum

from pipeline.bridge.face import BridgeState
from pipeline.control import LineStatus

BEAT_MS = 100.0
SILENCE_S = 1.0  # Redis is away when it did not answer for so long
_REMEMBERED_S = 60.0  # so long is a worker that left missed
_BEATS = 1 << 16


class ErrorCode(IntEnum):
    """Why the heartbeat stands still."""

    NONE = 0
    REDIS = 1  # Redis does not answer
    WORKERS = 2  # no worker's heartbeat


WHY = {
    ErrorCode.NONE: "",
    ErrorCode.REDIS: "Redis does not answer",
    ErrorCode.WORKERS: "no worker of the line is running",
}


class Watchdog:
    """Counts heartbeats; `beat` is called by the loop that hands over verdicts, and by no other."""

    def __init__(self) -> None:
        self._heartbeat = 0
        self._due_s = 0.0
        self._seen_s: dict[str, float] = {}  # by worker: when it last beat
        self._missed_s: float | None = None
        self._missed = 0

    def beat(self, status: LineStatus, now_s: float, stopped: tuple[str, ...] = ()) -> BridgeState:
        """Return what a receiver is shown now.

        Args:
            status: of the line.
            now_s: monotonic seconds.
            stopped: cameras with too many NG.
        """
        error = _error(status)
        if error is ErrorCode.NONE and now_s >= self._due_s:
            self._heartbeat = (self._heartbeat + 1) % _BEATS
            self._due_s = now_s + BEAT_MS / 1e3
        return BridgeState(
            heartbeat=self._heartbeat,
            ready=error is ErrorCode.NONE and not status.paused,
            paused=status.paused,
            degraded=self._is_degraded(status, now_s),
            error=WHY[error],
            error_code=error,
            missed=status.missed,
            stopped=stopped,
        )

    def _is_degraded(self, status: LineStatus, now_s: float) -> bool:
        beating = {worker.name for worker in status.workers}
        self._seen_s |= dict.fromkeys(beating, now_s)
        for name in [name for name, s in self._seen_s.items() if now_s - s > _REMEMBERED_S]:
            del self._seen_s[name]
        if status.missed > self._missed:
            self._missed, self._missed_s = status.missed, now_s
        missed = self._missed_s is not None and now_s - self._missed_s <= _REMEMBERED_S
        misfit = any(worker.misfit for worker in status.workers)
        return missed or misfit or bool(self._seen_s.keys() - beating)


def _error(status: LineStatus) -> ErrorCode:
    if status.redis_silence_s > SILENCE_S:
        return ErrorCode.REDIS
    return ErrorCode.NONE if status.workers else ErrorCode.WORKERS
