"""Records as signed requests: in order, repeated until the receiver takes them."""

import json
import logging
import queue
import random
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

from pipeline.bridge.face import BridgeState, Outcome, PlcRequest
from pipeline.bridge.records import record_fields
from pipeline.bridge.report import VerdictReport
from pipeline.bridge.webhook.parked import ParkedFile
from pipeline.bridge.webhook.post import Poster, Reaction, Reply

FIRST_WAIT_S, LONGEST_BACKOFF_S = 0.5, 60.0
MOST_PENDING = 64
_log = logging.getLogger(__name__)


class WebhookFace:
    """Posts one report after the other from a thread of its own.

    The order of the line is kept, and so is that of each camera: a report that the receiver does
    not take holds up those behind it.
    """

    gate = False
    most_pending = MOST_PENDING

    def __init__(
        self,
        poster: Poster,
        parked: ParkedFile,
        now_ms: Callable[[], float | None],
        spread: Callable[[float, float], float] = random.uniform,
    ) -> None:
        """Own a poster and a file; `stop` closes both."""
        self._poster = poster
        self._parked = parked
        self._now_ms = now_ms
        self._spread = spread
        self._waiting: queue.SimpleQueue[VerdictReport | None] = queue.SimpleQueue()
        self._settled: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._send_all, name="webhook", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def show(self, state: BridgeState) -> None:
        """Do nothing: a receiver of records is shown no state."""

    def deliver(self, report: VerdictReport) -> Outcome:
        """Queue a report."""
        self._waiting.put(report)
        return Outcome.PENDING

    def skip(self, report: VerdictReport) -> None:
        """Do nothing: records get every report."""

    def settled(self) -> Iterator[tuple[str, Outcome]]:
        """Return what the receiver took or refused."""
        while not self._settled.empty():
            yield self._settled.get()

    def requests(self) -> tuple[PlcRequest, ...]:
        """Return nothing: a receiver of records asks nothing."""
        return ()

    def failure(self) -> str:
        """Return why nothing is sent any more."""
        return "" if self._thread.is_alive() else "the sender has ended"

    def stop(self) -> None:
        """End the sender; what was not taken comes again at the next start."""
        self._stopping.set()
        self._waiting.put(None)
        self._poster.interrupt()
        if self._thread.ident is not None:
            self._thread.join()
        self._poster.close()
        self._parked.close()

    def _send_all(self) -> None:
        while not self._stopping.is_set():
            report = self._waiting.get()
            if report is not None and (outcome := self._send(report)) is not None:
                self._settled.put((report.result_id, outcome))

    def _send(self, report: VerdictReport) -> Outcome | None:
        """Repeat a report until it is settled; None when stopped."""
        tries = 0
        while not self._stopping.is_set():
            body = json.dumps(message_of(report, self._now_ms())).encode()
            reply = self._poster.post(message_id(report), body)
            if reply.answer is Reaction.TAKEN:
                if tries:
                    _log.info("webhook.taken", extra={"tries": tries + 1})
                return Outcome.DELIVERED
            if reply.answer is Reaction.REFUSED and self._park(report, reply):
                return Outcome.PARKED
            wait_s = max(self._backoff_s(tries), reply.wait_s)
            tries += 1
            if not self._stopping.is_set():
                fields = {"why": reply.why, "tries": tries, "wait_s": round(wait_s, 3)}
                _log.warning("webhook.waiting", extra=fields)
            self._stopping.wait(wait_s)
        return None

    def _backoff_s(self, tries: int) -> float:
        longest_s = min(FIRST_WAIT_S * 2 ** min(tries, 10), LONGEST_BACKOFF_S)
        return self._spread(longest_s / 2, longest_s)

    def _park(self, report: VerdictReport, reply: Reply) -> bool:
        """Keep a refused report; return whether there was room."""
        if self._parked.is_full:
            _log.error("webhook.parked_full", extra={"lines": self._parked.lines})
            return False
        message = message_of(report, self._now_ms())
        try:
            self._parked.add({"id": message_id(report), "why": reply.why, "message": message})
        except OSError as error:
            _log.error("webhook.not_parked", extra={"why": str(error)})  # no bug
            return False
        return True


def message_id(report: VerdictReport) -> str:
    """Return the id of a message, the same at every repetition."""
    return f"{report.line}:{report.result_id}"


def message_of(report: VerdictReport, now_ms: float | None) -> dict[str, Any]:
    """Return the body of a message.

    Args:
        report: what is sent.
        now_ms: Redis's time; a report past its deadline is `historical`.
    """
    captured = datetime.fromtimestamp(report.captured_ns / 1e9, UTC)
    timestamp = captured.isoformat(timespec="milliseconds")
    return {"type": "verdict", "timestamp": timestamp, "data": record_fields(report, now_ms)}
