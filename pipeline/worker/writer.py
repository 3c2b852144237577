"""The writer: what the scorer said -> verdicts in the stream."""

import logging
import threading
import time
from collections.abc import Callable

from pipeline.errors import ConnectionLost, RedisFull
from pipeline.frames import Judgement, Reason, Timings
from pipeline.streams.frame_consumer import Answer, Entry
from pipeline.wire import encode_judgement
from pipeline.worker.active_engine import InForce, Serving
from pipeline.worker.context import Post, Refused, Scored
from pipeline.worker.in_flight import Held
from pipeline.worker.judge import Row, judge

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

    def __init__(self, post: Post, in_force: InForce) -> None:
        self._post = post
        self._telemetry = post.telemetry
        self._in_force = in_force
        self._published_ms = FIRST_PUBLISH_MS
        self._turn = threading.Lock()
        self.verdicts = 0

    def run(self) -> None:
        """Publish until None comes."""
        while (message := self._post.outbox.get()) is not None:
            with self._turn:
                if isinstance(message, Scored):
                    self._publish_scored(message, self._patiently)
                else:
                    self._publish_refused(message)

    def publish_at_once(self, scored: Scored) -> bool:
        """Publish in the caller's thread; False while the writer is busy or Redis is away."""
        if not self._turn.acquire(blocking=False):
            return False
        try:
            self._publish_scored(scored, self._once)
        except (ConnectionLost, RedisFull):
            return False  # the writer repeats it: a frame's first answer counts
        finally:
            self._turn.release()
        return True

    def publish_ms(self) -> float:
        """How long after its scores a verdict is out, with what chance may add to it."""
        return PUBLISH_RESERVE * self._published_ms

    def _publish_scored(self, scored: Scored, send: Send) -> None:
        judgements = [
            self._judge(held, row, scored)
            for held, row in zip(scored.batch, scored.rows, strict=True)
        ]
        answers = [
            Answer(held.entry, judgement.judged, encode_judgement(judgement))
            for held, judgement in zip(scored.batch, judgements, strict=True)
        ]
        said = self._publish(answers, send, scored.serving)
        scored.serving.record.scored(len(scored.batch), scored.inference_ms)
        done_ns = time.time_ns()
        self._learn((done_ns - scored.started_ns) / _NS_PER_MS - scored.inference_ms)
        telemetry = self._telemetry
        telemetry.batch.observe(len(scored.batch))
        telemetry.inference.observe(scored.inference_ms / 1e3)
        for held in scored.batch:
            captured_ns = held.head.meta.captured_ns
            arrived_ns = held.waiting.arrived_ns
            telemetry.transport.observe((arrived_ns - captured_ns) / _NS_PER_S)
            telemetry.queue_wait.observe((scored.started_ns - arrived_ns) / _NS_PER_S)
            telemetry.end_to_end.observe((done_ns - captured_ns) / _NS_PER_S)
            if held.head.ring:
                self._post.rings.release(held.head.ring)
        for held, judgement in zip(scored.batch, judgements, strict=True):
            self._post.drift.see(held.head.meta.camera, judgement)

        if self._post.archivist:
            for held, judgement, word in zip(scored.batch, judgements, said, strict=True):
                self._post.archivist.offer(held, word, judgement)

    def _judge(self, held: Held, row: Row, scored: Scored) -> Judgement:
        arrived_ns = held.waiting.arrived_ns
        timings = Timings(
            transport_ms=(arrived_ns - held.head.meta.captured_ns) / _NS_PER_MS,
            queue_ms=(scored.started_ns - arrived_ns) / _NS_PER_MS,
            inference_ms=scored.inference_ms,
            batch=len(scored.batch),
        )
        return judge(
            row,
            scored.limits,
            held.head.meta.mm_per_pixel,
            scored.serving.name,
            timings,
            self._post.name,
        )

    def _publish_refused(self, refused: Refused) -> None:
        level = logging.INFO if refused.reason is Reason.LATE else logging.ERROR
        fields = {"reason": refused.reason.value, "frames": len(refused.entries)}
        _log.log(level, "frames.unknown", extra={**fields, "why": refused.why})
        if refused.reason is Reason.UNREADABLE:
            for entry in refused.entries:
                self._bury(entry, refused.why)
        began_s = time.monotonic()
        answers = [Answer(entry, refused.reason) for entry in refused.entries]
        said = self._publish(answers, self._patiently, self._in_force.serving)
        # else an outage, once measured, would leave no time to score any frame ever after
        self._learn((time.monotonic() - began_s) * 1e3)
        if self._post.archivist:
            words = dict(zip((entry.entry_id for entry in refused.entries), said, strict=True))
            for held in refused.frames:
                self._post.archivist.offer(held, words[held.entry.entry_id], None)

    def _learn(self, took_ms: float) -> None:
        """An outage is no publication: learn little of what took far longer than the others."""
        credible_ms = min(took_ms, PUBLISH_CREDIBLE * self._published_ms + FIRST_PUBLISH_MS)
        self._published_ms += PUBLISH_WEIGHT * (credible_ms - self._published_ms)

    def _bury(self, entry: Entry, why: str) -> None:
        try:
            self._post.work.bury(entry, why)
        except (ConnectionLost, RedisFull) as error:
            _log.warning("dead_letter.lost", extra={"entry": entry.entry_id, "why": str(error)})

    def _once(self, answers: list[Answer]) -> list[str]:
        return self._post.work.answer(answers)

    def _patiently(self, answers: list[Answer]) -> list[str]:
        giving_up = self._post.halt.giving_up.is_set
        return self._post.link.persist(lambda: self._post.work.answer(answers), giving_up)

    def _publish(self, answers: list[Answer], send: Send, serving: Serving) -> list[str]:
        """Send answers; what was published for each, empty where another came first."""
        said = send(answers)
        self._post.tray.answered([answer.entry for answer in answers])
        for word in said:
            serving.record.answered(word)
            if word:
                self.verdicts += 1
                self._telemetry.answered(word)
            else:
                self._telemetry.duplicates.inc()
        return said
