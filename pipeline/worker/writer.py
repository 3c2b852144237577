"""The writer: what the scorer said -> verdicts in the stream."""

import logging
import threading
import time
from collections.abc import Callable

from pipeline.errors import ConnectionLost, RedisFull, RedisUnfit, UnwritableJudgement
from pipeline.frames import Judgement, Reason, Timings
from pipeline.streams.frame_consumer import Answer, Entry
from pipeline.wire import encode_judgement
from pipeline.worker.active_engine import ActiveEngine, LoadedEngine
from pipeline.worker.context import RejectedFrames, ScoredBatch, WorkerContext
from pipeline.worker.in_flight import InFlightFrame
from pipeline.worker.judge import FrameScore, judge

_log = logging.getLogger(__name__)
FIRST_PUBLISH_MS = 2.0  # a guess, until it is measured
PUBLISH_WEIGHT = 0.1  # of the newest measurement in the running mean
PUBLISH_RESERVE = 2.0  # times the mean
PUBLISH_CREDIBLE = 4.0  # times the mean
Send = Callable[[list[Answer]], list[str]]
_NS_PER_S = 1e9
_NS_PER_MS = 1e6


class Writer:
    """Publishes every answer, and lets go of the frame only then."""

    def __init__(self, context: WorkerContext, active: ActiveEngine) -> None:
        self._context = context
        self._telemetry = context.telemetry
        self._active = active
        self._published_ms = FIRST_PUBLISH_MS
        self._turn = threading.Lock()
        self.verdicts = 0

    def run(self) -> None:
        """Publish until None comes."""
        while (message := self._context.outbox.get()) is not None:
            with self._turn:
                if isinstance(message, ScoredBatch):
                    self._publish_scored(message, self._answer_with_retry)
                else:
                    self._publish_rejected(message)

    def try_publish(self, scored: ScoredBatch) -> bool:
        """Publish in the caller's thread; False while the writer is busy or Redis is away."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._publish_scored(scored, self._answer_once)
        except (ConnectionLost, RedisFull):
            return False  # the writer repeats it: a frame's first answer counts
        finally:
            self._turn.release()
        return True

    def publish_ms(self) -> float:
        """How long after its scores a verdict is out, with what chance may add to it."""
        return PUBLISH_RESERVE * self._published_ms

    def _publish_scored(self, scored: ScoredBatch, send: Send) -> None:
        judgements = [
            self._judge(frame, frame_score, scored)
            for frame, frame_score in zip(scored.batch, scored.frame_scores, strict=True)
        ]
        answers = [
            _answer(frame.entry, judgement)
            for frame, judgement in zip(scored.batch, judgements, strict=True)
        ]
        said = self._publish(answers, send, scored.engine)
        scored.engine.recent.add_batch(len(scored.batch), scored.inference_ms)
        done_ns = time.time_ns()
        self._update_publish_time((done_ns - scored.started_ns) / _NS_PER_MS - scored.inference_ms)
        telemetry = self._telemetry
        telemetry.batch.observe(len(scored.batch))
        telemetry.inference.observe(scored.inference_ms / 1e3)
        for frame in scored.batch:
            captured_ns = frame.header.meta.captured_ns
            arrived_ns = frame.waiting.arrived_ns
            telemetry.transport.observe((arrived_ns - captured_ns) / _NS_PER_S)
            telemetry.queue_wait.observe((scored.started_ns - arrived_ns) / _NS_PER_S)
            telemetry.end_to_end.observe((done_ns - captured_ns) / _NS_PER_S)
            if frame.header.ring:
                self._context.ring_readers.release(frame.header.ring)
        for frame, judgement in zip(scored.batch, judgements, strict=True):
            self._context.drift_monitor.observe(frame.header.meta.camera, judgement)

        if self._context.archiver:
            for frame, judgement, word in zip(scored.batch, judgements, said, strict=True):
                self._context.archiver.offer(frame, word, judgement)

    def _judge(
        self, frame: InFlightFrame, frame_score: FrameScore, scored: ScoredBatch
    ) -> Judgement:
        arrived_ns = frame.waiting.arrived_ns
        timings = Timings(
            transport_ms=(arrived_ns - frame.header.meta.captured_ns) / _NS_PER_MS,
            queue_ms=(scored.started_ns - arrived_ns) / _NS_PER_MS,
            inference_ms=scored.inference_ms,
            batch=len(scored.batch),
        )
        return judge(
            frame_score,
            scored.thresholds,
            frame.header.meta.mm_per_pixel,
            scored.engine.name,
            timings,
            self._context.name,
        )

    def _publish_rejected(self, rejected: RejectedFrames) -> None:
        level = logging.INFO if rejected.reason is Reason.LATE else logging.ERROR
        fields = {"reason": rejected.reason.value, "frames": len(rejected.entries)}
        _log.log(level, "frames.unknown", extra={**fields, "why": rejected.why})
        if rejected.reason is Reason.UNREADABLE:
            for entry in rejected.entries:
                self._dead_letter(entry, rejected.why)
        began_s = time.monotonic()
        answers = [Answer(entry, rejected.reason) for entry in rejected.entries]
        said = self._publish(answers, self._answer_with_retry, self._active.current)
        # else an outage, once measured, would leave no time to score any frame ever after
        self._update_publish_time((time.monotonic() - began_s) * 1e3)
        if self._context.archiver:
            words = dict(zip((entry.entry_id for entry in rejected.entries), said, strict=True))
            for frame in rejected.frames:
                self._context.archiver.offer(frame, words[frame.entry.entry_id], None)

    def _update_publish_time(self, took_ms: float) -> None:
        """An outage is no publication: learn little of what took far longer than the others."""
        credible_ms = min(took_ms, PUBLISH_CREDIBLE * self._published_ms + FIRST_PUBLISH_MS)
        self._published_ms += PUBLISH_WEIGHT * (credible_ms - self._published_ms)

    def _dead_letter(self, entry: Entry, why: str) -> None:
        try:
            self._context.frame_consumer.dead_letter(entry, why)
        except (ConnectionLost, RedisFull, RedisUnfit) as error:
            _log.warning("dead_letter.lost", extra={"entry": entry.entry_id, "why": str(error)})

    def _answer_once(self, answers: list[Answer]) -> list[str]:
        return self._context.frame_consumer.answer(answers)

    def _answer_with_retry(self, answers: list[Answer]) -> list[str]:
        giving_up = self._context.shutdown.giving_up.is_set
        return self._context.connection.retry(
            lambda: self._context.frame_consumer.answer(answers), giving_up
        )

    def _publish(self, answers: list[Answer], send: Send, loaded: LoadedEngine) -> list[str]:
        """Send answers; what was published for each, empty where another came first."""
        said = send(answers)
        self._context.in_flight.remove([answer.entry for answer in answers])
        for word in said:
            loaded.recent.add_verdict(word)
            if word:
                self.verdicts += 1
                self._telemetry.answered(word)
            else:
                self._telemetry.duplicates.inc()
        return said


def _answer(entry: Entry, judgement: Judgement) -> Answer:
    """Return what to publish: what no program could read is no judgement."""
    try:
        return Answer(entry, judgement.judged, encode_judgement(judgement))
    except UnwritableJudgement as error:
        _log.error("judgement.unwritable", extra={"entry": entry.entry_id, "why": str(error)})
        return Answer(entry, Reason.ENGINE)
