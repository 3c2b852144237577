"""Verdicts, a source of them, and a target that settles when it is told to."""

from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.report import Code, ReasonCode, VerdictReport
from pipeline.control import LineStatus, WorkerStatus
from pipeline.frames import Decision, FrameMeta, Verdict

WORKING = LineStatus(redis_silence_s=0.0, redis_ms=0.0, workers=(WorkerStatus("worker"),))


def report_at(
    trigger_id: int,
    due_ms: float = 1e6,
    *,
    epoch: int = 1,
    code: Code = Code.OK,
    camera: str = "cam",
) -> VerdictReport:
    return VerdictReport(
        line="line",
        camera=camera,
        epoch=epoch,
        seq=trigger_id,
        trigger_id=trigger_id,
        part_id=f"part-{trigger_id}",
        code=code,
        reason=ReasonCode.NONE,
        result_id=f"{camera}-{epoch}-{trigger_id}",
        captured_ns=0,
        due_ms=due_ms,
    )


def verdict_at(
    seq: int, due_ms: int | None = 10**6, decision: Decision = Decision.OK, camera: str = "cam"
) -> Verdict:
    meta = FrameMeta(camera, seq, f"part-{seq}", 0, 0)
    return Verdict("line", meta, decision, None, None, "1-1", f"{camera}-{seq}", due_ms=due_ms)


class FakeVerdicts:
    """Hands out what it was given; time stands still unless it is set."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.waiting = deque(verdicts)
        self.acknowledged: list[int] = []
        self.status = WORKING

    @property
    def stopped(self) -> bool:
        return False

    def next(self, timeout_s: float) -> Verdict | None:
        del timeout_s
        return self.waiting.popleft() if self.waiting else None

    def acknowledge(self, verdict: Verdict) -> None:
        self.acknowledged.append(verdict.meta.seq)

    def line_state(self) -> LineStatus:
        return self.status

    def set_time(self, redis_ms: float | None) -> None:
        self.status = replace(self.status, redis_ms=redis_ms)


class FakeFace:
    """A target whose answers the test decides."""

    def __init__(self, *, gate: bool, answer: Outcome = Outcome.PENDING, most: int = 100) -> None:
        self.gate, self.answer, self.most_pending = gate, answer, most
        self.delivered: list[VerdictReport] = []
        self.skipped: list[VerdictReport] = []
        self.settling: list[tuple[str, Outcome]] = []
        self.asked: list[PlcRequest] = []
        self.states: list[BridgeState] = []
        self.broken = ""

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def show(self, state: BridgeState) -> None:
        self.states.append(state)

    def deliver(self, report: VerdictReport) -> Outcome:
        self.delivered.append(report)
        return self.answer

    def skip(self, report: VerdictReport) -> None:
        self.skipped.append(report)

    def settled(self) -> Iterable[tuple[str, Outcome]]:
        settled, self.settling = self.settling, []
        return settled

    def requests(self) -> Iterable[PlcRequest]:
        asked, self.asked = self.asked, []
        return asked

    def failure(self) -> str:
        return self.broken
