"""The reader: entries of the stream -> decoded frames on the tray."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

from pipeline.errors import ConnectionLost, RedisFull, UnreadableFrame
from pipeline.frames import Reason
from pipeline.streams.frame_consumer import Entry
from pipeline.worker.batching import Waiting
from pipeline.worker.context import Post, Refused
from pipeline.worker.decode import unpack
from pipeline.worker.in_flight import Held

READ_BLOCK_MS = 100
_WAIT_S = 0.1
_log = logging.getLogger(__name__)


class Intake:
    """Takes entries into hand: to the tray if they are frames, else to the outbox."""

    def __init__(self, post: Post, input_size: tuple[int, int], max_deliveries: int) -> None:
        self._tray = post.tray
        self._outbox = post.outbox
        self._rings = post.rings
        self._input_size = input_size
        self._max_deliveries = max_deliveries

    def take(self, entries: list[Entry]) -> None:
        """Take in what is not in hand already."""
        for held in self.open(self._tray.take_in(entries)):
            self._tray.put(held)

    def open(self, entries: list[Entry]) -> Iterator[Held]:
        """Give the frames of entries that are in hand; refuse those that are none."""
        for entry in entries:
            if held := self._open(entry):
                yield held

    def _open(self, entry: Entry) -> Held | None:
        if entry.deliveries > self._max_deliveries:
            why = f"handed out {entry.deliveries} times and never answered: it may kill workers"
            self._outbox.put(Refused([entry], Reason.UNREADABLE, why))
            return None
        try:
            head, pixels = unpack(entry, self._input_size, self._rings)
        except UnreadableFrame as error:
            self._outbox.put(Refused([entry], Reason.UNREADABLE, str(error)))
            return None
        waiting = Waiting(head.meta.deadline_ns, time.time_ns(), alone=entry.deliveries > 1)
        return Held(entry, head, pixels, waiting)


class Reader:
    """Reads while there is room, in one thread more than the engine has lanes.

    A frame that comes alone while a lane is free is scored in the thread that read it: handing it
    to the scorer's would cost it 0.2 ms (docs/experiments.md). Where frames queue up, more than one
    comes at a time, and each thread does its own work.
    """

    def __init__(
        self,
        post: Post,
        intake: Intake,
        score_at_once: Callable[[Held], bool],
        paused: Callable[[], bool],
    ) -> None:
        self._post = post
        self._intake = intake
        self._score_at_once = score_at_once
        self._paused = paused
        self._recovering = threading.Lock()
        self._recovered_s = 0.0

    def run(self) -> None:
        """Read until the worker drains."""
        while not self._post.halt.draining.is_set():
            if self._paused():
                self._post.halt.draining.wait(_WAIT_S)
                continue
            try:
                entries = self._read()
            except (ConnectionLost, RedisFull) as error:
                _log.warning("redis.lost", extra={"why": str(error)})
                self._recover(time.monotonic())
                continue
            alone = len(entries) == 1 and self._post.tray.is_empty()
            for held in self._intake.open(entries):
                if not (alone and self._score_at_once(held)):
                    self._post.tray.put(held)

    def _read(self) -> list[Entry]:
        """Read what there is room for; those that were not in hand already."""
        with self._post.tray.reserved(_WAIT_S) as places:
            if not places:
                return []
            return self._post.tray.take_in(self._post.work.read(places, READ_BLOCK_MS))

    def _recover(self, lost_s: float) -> None:
        """Wait for Redis, then take what was delivered to us but never arrived.

        One thread does it for all that lost their connections before.
        """
        with self._recovering:
            if self._recovered_s > lost_s:
                return
            draining = self._post.halt.draining.is_set
            began_s = time.monotonic()
            with self._post.tray.noting_answers() as answered:
                try:
                    mine = self._post.link.persist(self._post.work.mine, draining)
                except (ConnectionLost, RedisFull):
                    return  # draining: whoever lives takes these entries over
                self._intake.take([entry for entry in mine if entry.entry_id not in answered])
            self._recovered_s = began_s
            _log.info("redis.back", extra={"undelivered": len(mine)})
