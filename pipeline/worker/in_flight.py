"""The frames in a worker's hands, between its reader and its engine."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.streams.frame_consumer import Entry
from pipeline.wire import FrameHeader
from pipeline.worker.batching import BatchDecision, WaitingFrame

Decide = Callable[[Sequence[WaitingFrame], int], BatchDecision]


@dataclass(frozen=True, slots=True)
class InFlightFrame:
    """A frame that was read, decoded and not yet answered."""

    entry: Entry
    header: FrameHeader
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB
    waiting: WaitingFrame


class InFlight:
    """Hands frames from reader to engine; knows every entry in hand until it is answered."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        """Take what says how many entries may be in hand; it may say otherwise at any time."""
        self._capacity = capacity
        self._changed = threading.Condition()
        self._frames: list[InFlightFrame] = []
        self._entry_ids: set[str] = set()
        self._reserved = 0  # places of entries that may be on their way
        self._answered_ids: set[str] | None = None
        self._suspects: set[str] = set()
        self._closed = False

    @contextmanager
    def reserve(self, timeout_s: float) -> Iterator[int]:
        """Reserve places for entries to be read; yields how many, 0 where none came free in time.

        Half of what is free, so that another thread can read meanwhile.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._room() > 0, timeout_s)
            places = -(-max(0, self._room()) // 2)
            self._reserved += places
        try:
            yield places
        finally:
            with self._changed:
                self._reserved -= places
                self._changed.notify_all()

    def _room(self) -> int:
        return self._capacity() - len(self._entry_ids) - self._reserved

    @contextmanager
    def recording_answers(self) -> Iterator[set[str]]:
        """Note the ids of entries answered meanwhile; for one caller at a time."""
        answered: set[str] = set()
        self._answered_ids = answered
        try:
            yield answered
        finally:
            self._answered_ids = None

    def add_entries(self, entries: list[Entry]) -> list[Entry]:
        """Count entries as in hand; gives back those that were not in hand already."""
        with self._changed:
            new = [entry for entry in entries if entry.entry_id not in self._entry_ids]
            self._entry_ids.update(entry.entry_id for entry in new)
            self._suspects.update(entry.entry_id for entry in new if entry.deliveries > 1)
            return new

    def add_frame(self, frame: InFlightFrame) -> None:
        """Lay down a decoded frame."""
        with self._changed:
            self._frames.append(frame)
            self._changed.notify_all()

    def notify(self) -> None:
        """Wake who waits for a batch: an engine is free."""
        with self._changed:
            self._changed.notify_all()

    def remove(self, entries: list[Entry]) -> None:
        """Entries have been answered and are no longer in hand."""
        ids = {entry.entry_id for entry in entries}
        with self._changed:
            self._entry_ids -= ids
            self._suspects -= ids
            if self._answered_ids is not None:
                self._answered_ids |= ids
            self._changed.notify_all()

    def wait_for_suspects(self, timeout_s: float) -> bool:
        """Wait until no frame of a dead worker is in hand; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._suspects, timeout_s)

    def close(self) -> None:
        """No more frames will come: `next_batch` gives what is left, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def is_empty(self) -> bool:
        """Return whether no decoded frame waits for the engine."""
        return not self._frames

    @property
    def count(self) -> int:
        """Entries read and not yet answered."""
        return len(self._entry_ids)

    def next_batch(self, decide: Decide) -> tuple[list[InFlightFrame], list[InFlightFrame]] | None:
        """Wait for something to do: (score these, answer these LATE); None at the end."""
        with self._changed:
            while True:
                decision = decide([frame.waiting for frame in self._frames], time.time_ns())
                if decision.batch or decision.late:
                    return self._pick(decision)
                if self._closed and not self._frames:
                    return None
                self._changed.wait(self._pause_s(decision))

    def _pause_s(self, decision: BatchDecision) -> float | None:
        if decision.wake_ns is None:
            return None
        return max(0.0, (decision.wake_ns - time.time_ns()) / 1e9)

    def _pick(self, decision: BatchDecision) -> tuple[list[InFlightFrame], list[InFlightFrame]]:
        batch = [self._frames[index] for index in decision.batch]
        late = [self._frames[index] for index in decision.late]
        gone = {*decision.batch, *decision.late}
        self._frames = [frame for index, frame in enumerate(self._frames) if index not in gone]
        return batch, late
