"""Verdicts again, for a client that missed some: a broker may lose what it has acknowledged."""

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from pipeline.bridge.mqtt.topics import MOST_AT_ONCE, RefusedRequest, ResendRequest, read_request
from pipeline.bridge.report import VerdictReport, report_of
from pipeline.errors import PipelineError
from pipeline.frames import Verdict
from pipeline.logs import CountedEvents

Kept = Callable[[str], list[Verdict]]  # a page of kept verdicts before a result id, newest first
MOST_WAITING = 8  # requests
BURST, PER_S = 10.0, 1.0  # requests that are answered at once, and for how long
MOST_UNACKNOWLEDGED = 64  # verdicts sent again
REORDERED = 4096  # seqs by which verdicts of a camera are out of order at most
_MOST_RANGES = 16
_LOOK_S = 0.5
_LOG_EVERY_S = 10.0
_log = logging.getLogger(__name__)


class RateLimit:
    """A token bucket."""

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float]) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._left, self._at_s = burst, clock()

    def allows(self) -> bool:
        """Return whether one more may pass now, and count it."""
        now_s = self._clock()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(slots=True)
class KeptReports:
    """What the line still keeps of a request."""

    reports: dict[int, VerdictReport] = field(default_factory=dict)  # by seq
    newest: int | None = None  # seq of this camera in the current numbering; None: nothing is kept


def find_kept(
    kept: Kept, camera: str, request: ResendRequest, epoch: int, stopped: Callable[[], bool]
) -> KeptReports:
    """Look for the verdicts of a request, from the newest backwards.

    An earlier numbering of the camera is not looked at.

    Raises:
        PipelineError: Redis does not answer, or refuses.
    """
    found = KeptReports()
    lowest: int | None = None
    for verdict in _backwards(kept, stopped):
        seq = verdict.meta.seq
        if verdict.meta.camera != camera or seq < 0:
            continue
        if lowest is not None and seq > lowest + REORDERED:
            break
        lowest = seq if lowest is None else min(lowest, seq)
        found.newest = seq if found.newest is None else max(found.newest, seq)
        if request.first <= seq <= request.last:
            found.reports.setdefault(seq, report_of(verdict, epoch))
        complete = len(found.reports) > request.last - request.first
        if complete or seq < request.first - REORDERED:
            break
    return found


def _backwards(kept: Kept, stopped: Callable[[], bool]) -> Iterator[Verdict]:
    before = "+"
    while not stopped() and (page := kept(before)):
        yield from page
        before = page[-1].result_id


def missing_ranges(first: int, last: int, there: set[int]) -> list[list[int]]:
    """Return the seqs from first to last that are not there, as [first, last] each."""
    ranges: list[list[int]] = []
    for seq in range(first, last + 1):
        if seq in there:
            continue
        if ranges and ranges[-1][1] == seq - 1:
            ranges[-1][1] = seq
        else:
            ranges.append([seq, seq])
    return ranges


class Resender:
    """Answers requests one after the other, from a thread of its own."""

    def __init__(
        self,
        kept: Kept,
        epoch_of: Callable[[str], int],
        send: Callable[[VerdictReport, Callable[[], None]], None],
        refuse: Callable[[str, dict[str, Any]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Answer nothing yet.

        Args:
            kept: reads what the line keeps.
            epoch_of: of a camera's current numbering.
            send: publishes a verdict again, and calls what it was given when the broker has it.
            refuse: publishes why a request for a camera is not, or not fully, answered.
            clock: monotonic seconds.
        """
        self._kept, self._epoch_of, self._send, self._refuse = kept, epoch_of, send, refuse
        self._rate = RateLimit(BURST, PER_S, clock)
        self._waiting: queue.Queue[tuple[str, ResendRequest]] = queue.Queue(MOST_WAITING)
        self._room = threading.Semaphore(MOST_UNACKNOWLEDGED)
        self._stopping = threading.Event()
        self._events = CountedEvents(_log, _LOG_EVERY_S, clock)
        self._thread = threading.Thread(target=self._answer_all, name="mqtt-resend", daemon=True)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """End; requests that wait are not answered."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._events.flush()

    @property
    def alive(self) -> bool:
        """Return whether requests are answered."""
        return self._thread.is_alive()

    def ask(self, camera: str, payload: bytes) -> None:
        """Accept a request for a camera, or refuse it; never wait."""
        if not self._rate.allows():
            why = "too many requests: they are not answered"
            self._events.add("mqtt.requests_dropped", 1, camera=camera, why=why)
            return
        try:
            self._waiting.put_nowait((camera, read_request(payload)))
        except RefusedRequest as error:
            self._refuse(camera, {"error": "bad_request", "message": str(error)})
        except queue.Full:
            message = f"{MOST_WAITING} requests are waiting: ask again later"
            self._refuse(camera, {"error": "busy", "message": message})

    def _answer_all(self) -> None:
        while not self._stopping.is_set():
            try:
                camera, request = self._waiting.get(timeout=_LOOK_S)
            except queue.Empty:
                continue
            self._answer(camera, request)

    def _answer(self, camera: str, request: ResendRequest) -> None:
        try:
            found = find_kept(
                self._kept, camera, request, self._epoch_of(camera), self._stopping.is_set
            )
        except PipelineError as error:
            _log.warning("mqtt.resend_failed", extra={"camera": camera, "why": str(error)})
            message = "the line's Redis does not answer: ask again later"
            self._refuse(camera, {"error": "unavailable", "message": message, **_asked(request)})
            return
        for seq in sorted(found.reports):
            if not self._wait_for_room():
                return
            self._send(found.reports[seq], self._room.release)
        fields = {"camera": camera, "verdicts": len(found.reports), **_asked(request)}
        _log.info("mqtt.resent", extra=fields)
        if lacking := shortfall(request, found):
            self._refuse(camera, {**lacking, **_asked(request)})

    def _wait_for_room(self) -> bool:
        while not self._stopping.is_set():
            if self._room.acquire(timeout=_LOOK_S):
                return True
        return False


def _asked(request: ResendRequest) -> dict[str, Any]:
    return {"from": request.first, "to": request.asked_last}


def shortfall(request: ResendRequest, found: KeptReports) -> dict[str, Any]:
    """Return what a client must know of the seqs that it did not get; empty if it got all."""
    newest = -1 if found.newest is None else found.newest
    last = min(request.last, newest) if request.asked_last is None else request.last
    missing = missing_ranges(request.first, last, set(found.reports))
    if missing:
        return {
            "error": "not_kept",
            "message": "no longer kept, not judged yet, or triggers without a picture",
            "missing": missing[:_MOST_RANGES],
            "missing_ranges": len(missing),
        }
    if found.newest is None or request.first > newest:
        return {"error": "not_kept", "message": "nothing is kept from there on", "missing": []}
    if request.asked_last is None and newest > request.last:
        message = f"at most {MOST_AT_ONCE} at once: ask again from {request.last + 1}"
        return {"error": "more", "message": message, "next": request.last + 1}
    return {}
