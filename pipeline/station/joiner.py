"""Reads the verdicts of every view and hands them to the station's books.

Every joiner of a station does all the work, and the books take each verdict once: one that is
killed costs no time, and one that starts again reads on from what was joined.
"""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial

from pipeline.errors import ConnectionLost, RedisFull, UnreadableFrame
from pipeline.streams.connection import RedisConnection, Reply
from pipeline.streams.result_reader import Result
from pipeline.streams.station.books import Expiry, JoinKey, StationBooks, StationPlan, ViewResult
from pipeline.telemetry import StationTelemetry
from pipeline.wire import decode_frame_header, encode_part_header, encode_report

PAGE = 64
BLOCK_MS = 250  # so long may a stop wait for a reader
HEARTBEAT_EVERY_S = 1.0
HEARTBEAT_LASTS_MS = 5000
LONGEST_WAIT_S = 0.05  # between two looks for parts whose deadline has passed
_NS_PER_MS = 1_000_000
_log = logging.getLogger(__name__)


def view_result(plan: StationPlan, view: str, result: Result) -> ViewResult:
    """Return a view's verdict as the station's books take it; one without a frame has no key."""
    try:
        header = decode_frame_header(result.header)
    except UnreadableFrame:
        return _nameless(view, result)
    meta = header.meta
    by_trigger = plan.by is JoinKey.TRIGGER
    before, seq = encode_part_header(header, plan.station)
    captured_ms = meta.captured_ns // _NS_PER_MS
    deadline_ms = meta.deadline_ns // _NS_PER_MS
    due_ms = deadline_ms if result.due_ms is None else result.due_ms
    if plan.deadline_ms is not None:
        due_ms += captured_ms + plan.deadline_ms - deadline_ms
    return ViewResult(
        view=view,
        result_id=result.result_id,
        number=result.number,
        key=f"t{meta.seq}" if by_trigger else f"p{meta.part_id}",
        captured_ms=captured_ms,
        due_ms=due_ms,
        answer=result.answer,
        reason=result.reason,
        entry_id=result.entry_id,
        camera=meta.camera,
        seq=meta.seq,
        header=(before, seq if by_trigger else b""),
        judgement=result.judgement or b"",
    )


def _nameless(view: str, result: Result) -> ViewResult:
    identity = (result.answer, result.reason, result.entry_id, "", 0)
    return ViewResult(view, result.result_id, result.number, "", 0, 0, *identity, (b"", b""), b"")


class Joiner:
    """Joins the views of one station, with a thread for each view and one for deadlines."""

    def __init__(
        self, connection: RedisConnection, plan: StationPlan, name: str, telemetry: StationTelemetry
    ) -> None:
        """Borrow a connection; nothing is read before `run`. `name` is this life of the process."""
        self._name = name
        self._telemetry = telemetry
        self._beaten_s = -math.inf
        self._connection = connection
        self._plan = plan
        self._books = StationBooks(connection.client, plan)
        self._stopping = threading.Event()
        self._failure: Exception | None = None
        self.counts: Counter[str] = Counter()  # what became of the verdicts, by this joiner

    def run(self, *, from_start: bool = False, redefine: bool = False) -> None:
        """Join until `stop`.

        Raises:
            SettingsError: the station is joined by another plan.
            PipelineError: the server refuses this user.
        """
        positions = self._retry(lambda: self._books.open(from_start=from_start, redefine=redefine))
        readers = [
            threading.Thread(target=self._guarded, args=(self._read_view, view, after))
            for view, after in positions.items()
        ]
        expirer = threading.Thread(target=self._guarded, args=(self._expire,))
        for thread in (*readers, expirer):
            thread.start()
        for thread in (*readers, expirer):
            thread.join()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """End `run`; may be called from any thread or from a signal handler."""
        self._stopping.set()

    def _guarded(self, work: Callable[..., None], *arguments: str) -> None:
        try:
            work(*arguments)
        except (ConnectionLost, RedisFull) as error:
            _log.warning("station.stopped_unconnected", extra={"why": str(error)})
        except Exception as error:  # noqa: BLE001  # the thread's edge: `run` raises it
            self._failure = self._failure or error
        finally:
            self.stop()

    def _read_view(self, view: str, after: str) -> None:
        while not self._stopping.is_set():
            found = self._retry(partial(self._books.read, view, after, PAGE, BLOCK_MS))
            if not found:
                continue
            views = [view_result(self._plan, view, result) for result in found]
            self._note(view, self._retry(partial(self._books.join, views)))
            after = found[-1].result_id

    def _note(self, view: str, became: list[str]) -> None:
        for what, count in Counter(became).items():
            self.counts[what] += count
            self._telemetry.joined(what, count)
        for what in ("forgotten", "nameless"):
            if count := became.count(what):
                fields = {"station": self._plan.station, "view": view, "frames": count}
                _log.error(f"station.{what}", extra={**fields, "why": _WHY[what]})

    def _expire(self) -> None:
        while not self._stopping.is_set():
            expiry = self._retry(self._books.expire)
            self.counts["expired"] += expiry.expired
            self._telemetry.expired(expiry.expired)
            self._beat()
            self._stopping.wait(_wait_s(expiry))

    def _beat(self) -> None:
        now_s = time.monotonic()
        if now_s - self._beaten_s < HEARTBEAT_EVERY_S:
            return
        self._beaten_s = now_s
        fields = {"line": self._plan.station, "role": "joiner", "views": list(self._plan.views)}
        report = encode_report({**fields, "by": self._plan.by.value})
        self._retry(partial(self._books.send_heartbeat, self._name, report, HEARTBEAT_LASTS_MS))

    def not_ready(self) -> str:
        """Return why this joiner joins nothing, or nothing."""
        if self._beaten_s < 0:
            return "starting: it waits for Redis, as its log says"
        silent_s = time.monotonic() - self._beaten_s
        if silent_s > HEARTBEAT_LASTS_MS / 1000:
            return f"no answer from Redis for {silent_s:.0f} s"
        return ""

    def _retry(self, action: Callable[[], Reply]) -> Reply:
        return self._connection.retry(action, self._stopping.is_set, self._stopping.wait)


_WHY = {
    "forgotten": "these verdicts are older than the parts that the station remembers: whether "
    "their parts were decided is not known, and they get no verdict",
    "nameless": "these verdicts do not say which frame they belong to: their parts miss a view",
}


def _wait_s(expiry: Expiry) -> float:
    """Return how long to wait before the next look for late parts."""
    if expiry.next_due_ms is None:
        return LONGEST_WAIT_S
    return min(max(expiry.next_due_ms - expiry.now_ms + 1, 1.0) / 1000, LONGEST_WAIT_S)
