"""The frames in a worker's hands, between its reader and its engine."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.streams.frame_consumer import Entry
from pipeline.wire import Head
from pipeline.worker.batching import Plan, Waiting

Decide = Callable[[Sequence[Waiting], int], Plan]


@dataclass(frozen=True, slots=True)
class Held:
    """A frame that was read, decoded and not yet answered."""

    entry: Entry
    head: Head
    pixels: NDArray[np.uint8]  # [H, W, 3], RGB
    waiting: Waiting


class Tray:
    """Hands frames from reader to engine; knows every entry in hand until it is answered."""

    def __init__(self, capacity: Callable[[], int]) -> None:
        """Take what says how many entries may be in hand; it may say otherwise at any time."""
        self._capacity = capacity
        self._changed = threading.Condition()
        self._frames: list[Held] = []
        self._in_hand: set[str] = set()
        self._reserved = 0  # places of entries that may be on their way
        self._answered_since: set[str] | None = None
        self._suspects: set[str] = set()
        self._closed = False

    @contextmanager
    def reserved(self, timeout_s: float) -> Iterator[int]:
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
        return self._capacity() - len(self._in_hand) - self._reserved

    @contextmanager
    def noting_answers(self) -> Iterator[set[str]]:
        """Note the ids of entries answered meanwhile; for one caller at a time."""
        answered: set[str] = set()
        self._answered_since = answered
        try:
            yield answered
        finally:
            self._answered_since = None

    def take_in(self, entries: list[Entry]) -> list[Entry]:
        """Count entries as in hand; gives back those that were not in hand already."""
        with self._changed:
            new = [entry for entry in entries if entry.entry_id not in self._in_hand]
            self._in_hand.update(entry.entry_id for entry in new)
            self._suspects.update(entry.entry_id for entry in new if entry.deliveries > 1)
            return new

    def put(self, held: Held) -> None:
        """Lay down a decoded frame."""
        with self._changed:
            self._frames.append(held)
            self._changed.notify_all()

    def look_again(self) -> None:
        """Wake who waits for a batch: an engine is free."""
        with self._changed:
            self._changed.notify_all()

    def answered(self, entries: list[Entry]) -> None:
        """Entries have been answered and are no longer in hand."""
        ids = {entry.entry_id for entry in entries}
        with self._changed:
            self._in_hand -= ids
            self._suspects -= ids
            if self._answered_since is not None:
                self._answered_since |= ids
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
        """Whether no decoded frame waits for the engine."""
        return not self._frames

    @property
    def in_hand(self) -> int:
        """Entries read and not yet answered."""
        return len(self._in_hand)

    def next_batch(self, decide: Decide) -> tuple[list[Held], list[Held]] | None:
        """Wait for something to do: (score these, answer these LATE); None at the end."""
        with self._changed:
            while True:
                plan = decide([held.waiting for held in self._frames], time.time_ns())
                if plan.batch or plan.late:
                    return self._pick(plan)
                if self._closed and not self._frames:
                    return None
                self._changed.wait(self._pause_s(plan))

    def _pause_s(self, plan: Plan) -> float | None:
        if plan.wake_ns is None:
            return None
        return max(0.0, (plan.wake_ns - time.time_ns()) / 1e9)

    def _pick(self, plan: Plan) -> tuple[list[Held], list[Held]]:
        batch = [self._frames[index] for index in plan.batch]
        late = [self._frames[index] for index in plan.late]
        gone = {*plan.batch, *plan.late}
        self._frames = [held for index, held in enumerate(self._frames) if index not in gone]
        return batch, late
