"""The archiver: frames worth a label -> the archive, after their verdicts and behind them.

It never makes a verdict wait: what does not fit into its queue, or cannot be written, is counted,
logged now and then, and dropped.
"""

import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto

import numpy as np
from numpy.typing import NDArray

from pipeline.archive import Archive, ArchivedFrame
from pipeline.frames import Decision, Judgement, Verdict
from pipeline.telemetry import Telemetry
from pipeline.verdicts import decide, verdict_fields
from pipeline.worker.in_flight import InFlightFrame

QUEUE_BYTES = 64 << 20
TRIM_EVERY_S = 60.0
TRIM_SHARE = 0.01  # of the budget: so much written, and it is looked at again
COMPLAIN_EVERY_S = 30.0
_AT_THE_THRESHOLD = 0.5  # on the normalised score
_log = logging.getLogger(__name__)


class RetentionReason(Enum):
    """Why a frame is archived."""

    UNSURE = auto()  # NG, UNKNOWN, or near the threshold
    BY_CHANCE = auto()


@dataclass(frozen=True, slots=True)
class RetentionPolicy:
    """Which frames are kept, and for how long."""

    share: float  # of the OK frames, drawn by entry id
    near: float  # how far from the threshold an OK frame still counts as near, normalised
    most_bytes: int
    most_age_s: float

    def reason_to_keep(
        self, answer: str, judgement: Judgement | None, entry_id: str
    ) -> RetentionReason | None:
        """Return why a frame is kept, or None; always the same for the same entry."""
        if answer != Decision.OK or judgement is None:
            return RetentionReason.UNSURE
        if abs(judgement.normalised - _AT_THE_THRESHOLD) <= self.near:
            return RetentionReason.UNSURE
        return RetentionReason.BY_CHANCE if drawn(entry_id) < self.share else None


def drawn(entry_id: str) -> float:
    """Draw a number in 0..1 by an entry's id."""
    digest = hashlib.blake2b(entry_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / 2**64


@dataclass(frozen=True, slots=True)
class _QueuedFrame:
    verdict: Verdict
    pixels: NDArray[np.uint8]
    reason: RetentionReason


class Archiver:
    """Writes frames in a thread of its own; `offer` comes from any thread."""

    def __init__(
        self,
        archive: Archive,
        line: str,
        policy: RetentionPolicy,
        telemetry: Telemetry,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._archive = archive
        self._line = line
        self._policy = policy
        self._telemetry = telemetry
        self._clock = clock
        self._queue: queue.SimpleQueue[_QueuedFrame | None] = queue.SimpleQueue()
        self._counting = threading.Lock()
        self._waiting_bytes = 0
        self._dropped = 0  # since the last complaint
        self._complained_s = -COMPLAIN_EVERY_S
        self._untrimmed_bytes = 0  # written since the last trim
        self._thread = threading.Thread(target=self.run, name="archivist", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def offer(self, frame: InFlightFrame, answer: str, judgement: Judgement | None) -> None:
        """Take a frame whose `answer` was published, if it is worth a label; never waits.

        The pixels are borrowed: whoever decoded them made them for this frame alone.

        Args:
            frame: the frame.
            answer: as published; empty where another worker's came first.
            judgement: what the engine said, where it was asked.
        """
        entry_id = frame.entry.entry_id
        if (
            not answer
            or (kept_for := self._policy.reason_to_keep(answer, judgement, entry_id)) is None
        ):
            return
        size = frame.pixels.nbytes
        with self._counting:
            full = self._waiting_bytes > 0 and self._waiting_bytes + size > QUEUE_BYTES
            if not full:
                self._waiting_bytes += size
        if full:
            self._drop(f"more than {QUEUE_BYTES >> 20} MB wait for the disk")
            return
        decision, reason = decide(answer, judgement)
        verdict = Verdict(self._line, frame.header.meta, decision, reason, judgement, entry_id)
        self._queue.put(_QueuedFrame(verdict, frame.pixels, kept_for))

    def run(self) -> None:
        """Write until `close`."""
        self._trim()
        while True:
            try:
                queued = self._queue.get(timeout=TRIM_EVERY_S)
            except queue.Empty:
                self._trim()
                continue
            if queued is None:
                return
            self._write(queued)
            if self._untrimmed_bytes >= TRIM_SHARE * self._policy.most_bytes:
                self._trim()

    def close(self, until_s: float) -> None:
        """Write what waits, until `until_s` of the monotonic clock; count the rest as dropped."""
        self._queue.put(None)
        self._thread.join(max(0.0, until_s - time.monotonic()))
        left = 0
        with suppress(queue.Empty):
            while True:
                left += self._queue.get_nowait() is not None
        self._queue.put(None)  # for a thread that still writes
        if left:
            self._telemetry.archive_dropped.inc(left)
            _log.warning("archive.left_frames", extra={"frames": left})

    def _write(self, queued: _QueuedFrame) -> None:
        verdict = queued.verdict
        try:
            fields = verdict_fields(verdict, with_mask=True)
            frame = ArchivedFrame(verdict.entry_id, queued.pixels, fields)
            by_chance = queued.reason is RetentionReason.BY_CHANCE
            self._untrimmed_bytes += self._archive.store(frame, by_chance=by_chance)
            self._telemetry.archived.inc()
        except Exception as error:  # noqa: BLE001  # no archive is worth a worker's life
            self._drop(f"{type(error).__name__}: {error}")
        finally:
            with self._counting:
                self._waiting_bytes -= queued.pixels.nbytes

    def _trim(self) -> None:
        policy = self._policy
        most_bytes = int((1 - TRIM_SHARE) * policy.most_bytes)  # room until the next time
        self._untrimmed_bytes = 0
        try:
            trimmed = self._archive.trim(most_bytes, policy.most_age_s, self._clock())
        except Exception as error:  # noqa: BLE001  # as above
            _log.warning("archive.untrimmed", extra={"why": f"{type(error).__name__}: {error}"})
            return
        if trimmed.removed:
            fields = {"removed": trimmed.removed, "kept_mb": trimmed.kept_bytes >> 20}
            _log.info("archive.trimmed", extra=fields)
        if trimmed.pinned_bytes > policy.most_bytes // 2:
            why = "labelled frames take half of --archive-mb: let the sample store take them"
            fields = {"pinned_mb": trimmed.pinned_bytes >> 20}
            _log.warning("archive.pinned", extra={**fields, "why": why})

    def _drop(self, why: str) -> None:
        self._telemetry.archive_dropped.inc()
        with self._counting:
            self._dropped += 1
            if time.monotonic() - self._complained_s < COMPLAIN_EVERY_S:
                return
            self._complained_s, dropped, self._dropped = time.monotonic(), self._dropped, 0
        _log.warning("archive.dropped", extra={"frames": dropped, "why": why})
