"""The reader: entries of the stream -> decoded frames in flight."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConnectionLost, RedisFull, UnreadableFrame, WrongSize
from pipeline.frames import Reason
from pipeline.streams.frame_consumer import Entry
from pipeline.wire import FrameHeader
from pipeline.worker.batching import WaitingFrame
from pipeline.worker.context import RejectedFrames, WorkerContext
from pipeline.worker.decode import decode_entry
from pipeline.worker.in_flight import InFlightFrame

READ_BLOCK_MS = 100
_WAIT_S = 0.1
_log = logging.getLogger(__name__)


class EntryDecoder:
    """Decodes entries: what is a frame goes in flight, the rest to the writer."""

    def __init__(
        self,
        context: WorkerContext,
        input_size: tuple[int, int],
        max_deliveries: int,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._in_flight = context.in_flight
        self._outbox = context.outbox
        self._ring_readers = context.ring_readers
        self._watch = context.rollback_watch
        self._input_size = input_size
        self._max_deliveries = max_deliveries
        self._clock_s = clock_s
        self._began_s: dict[int, float] = {}  # by thread: since when it is at one frame
        self.misfits = 0  # frames in a row that were of another size
        self.misfit_shape: tuple[int, int] | None = None  # of the last one

    def add(self, entries: list[Entry]) -> None:
        """Take in what is not in hand already."""
        for frame in self.decode(self._in_flight.add_entries(entries)):
            self._in_flight.add_frame(frame)

    def decode(self, entries: list[Entry]) -> Iterator[InFlightFrame]:
        """Yield the frames of entries that are in hand; refuse those that are none."""
        for entry in entries:
            if frame := self._decode(entry):
                yield frame

    def busy_s(self) -> float:
        """For how long the slowest thread has been at its present frame."""
        now_s = self._clock_s()
        return now_s - min(self._began_s.copy().values(), default=now_s)

    def _decode(self, entry: Entry) -> InFlightFrame | None:
        if entry.deliveries > self._max_deliveries:
            why = f"handed out {entry.deliveries} times and never answered: it may kill workers"
            self._outbox.put(RejectedFrames([entry], Reason.UNREADABLE, why))
            return None
        try:
            header, pixels = self._watched_decode(entry)
        except UnreadableFrame as error:
            if isinstance(error, WrongSize):
                self.misfits, self.misfit_shape = self.misfits + 1, error.shape
            self._outbox.put(RejectedFrames([entry], Reason.UNREADABLE, str(error)))
            return None
        self.misfits = 0
        if self._watch is not None:
            self._watch.note_frame(header.meta.camera, header.meta.seq)
        arrived_ns, left_ns = time.time_ns(), entry.left_ns
        due_ns = header.meta.deadline_ns if left_ns is None else arrived_ns + left_ns
        waiting = WaitingFrame(due_ns, arrived_ns, alone=entry.deliveries > 1)
        return InFlightFrame(entry, header, pixels, waiting)

    def _watched_decode(self, entry: Entry) -> tuple[FrameHeader, NDArray[np.uint8]]:
        thread = threading.get_ident()
        self._began_s[thread] = self._clock_s()
        try:
            return decode_entry(entry, self._input_size, self._ring_readers)
        finally:
            del self._began_s[thread]


class Reader:
    """Reads while there is room, in one thread more than the engine has lanes.

    A frame that comes alone while a lane is free is scored in the thread that read it: handing it
    to the scorer's would cost it 0.2 ms (docs/experiments.md). Where frames queue up, more than one
    comes at a time, and each thread does its own work.
    """

    def __init__(
        self,
        context: WorkerContext,
        decoder: EntryDecoder,
        try_score: Callable[[InFlightFrame], bool],
        paused: Callable[[], bool],
    ) -> None:
        self._context = context
        self._decoder = decoder
        self._try_score = try_score
        self._paused = paused
        self._recovering = threading.Lock()
        self._recovered_s = 0.0

    def run(self) -> None:
        """Read until the worker drains."""
        while not self._context.shutdown.draining.is_set():
            if self._paused():
                self._context.shutdown.draining.wait(_WAIT_S)
                continue
            try:
                entries = self._read()
            except (ConnectionLost, RedisFull) as error:
                _log.warning("redis.lost", extra={"why": str(error)})
                self._recover(time.monotonic())
                continue
            alone = len(entries) == 1 and self._context.in_flight.is_empty()
            for frame in self._decoder.decode(entries):
                if not (alone and self._try_score(frame)):
                    self._context.in_flight.add_frame(frame)

    def _read(self) -> list[Entry]:
        """Read what there is room for; those that were not in hand already."""
        with self._context.in_flight.reserve(_WAIT_S) as places:
            if not places:
                return []
            return self._context.in_flight.add_entries(
                self._context.frame_consumer.read(places, READ_BLOCK_MS)
            )

    def _look_back(self) -> None:
        """Compare Redis with what was read before, while nothing new is read yet."""
        if (watch := self._context.rollback_watch) is not None:
            self._context.connection.retry(watch.ask, self._context.shutdown.draining.is_set)

    def _recover(self, lost_s: float) -> None:
        """Wait for Redis, then take what was delivered to us but never arrived.

        One thread does it for all that lost their connections before.
        """
        with self._recovering:
            if self._recovered_s > lost_s:
                return
            draining = self._context.shutdown.draining.is_set
            began_s = time.monotonic()
            with self._context.in_flight.recording_answers() as answered:
                try:
                    self._look_back()
                    pending = self._context.connection.retry(
                        self._context.frame_consumer.pending, draining
                    )
                except (ConnectionLost, RedisFull):
                    return  # draining: whoever lives takes these entries over
                self._decoder.add([entry for entry in pending if entry.entry_id not in answered])
            self._recovered_s = began_s
            _log.info("redis.back", extra={"undelivered": len(pending)})
