"""Labels that a program gave and that are not in Redis yet: its own calls never wait for it."""

import logging
import queue
import time
from collections import deque
from collections.abc import Callable

from pipeline.errors import ConnectionLost, LabelError, RedisFull, RedisUnfit
from pipeline.frames import Label
from pipeline.label_rules import check_label
from pipeline.streams.labels import LabelStream
from pipeline.wire.label import encode_label

MOST_UNSENT = 10_000
TRY_AGAIN_S = 1.0
_log = logging.getLogger(__name__)


class LabelQueue:
    """Takes labels from any thread; one thread sends them."""

    def __init__(self, stream: LabelStream, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock_s = clock_s
        self._given: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._unsent: deque[bytes] = deque()
        self._not_before_s = -TRY_AGAIN_S

    def put(self, label: Label) -> None:
        """Take a label; it is sent by the next `send`.

        Raises:
            LabelError: it cannot be right, or too many wait because Redis takes none.
        """
        check_label(label)
        packed = encode_label(label)
        if self.left() >= MOST_UNSENT:
            raise LabelError(f"{MOST_UNSENT} labels wait for Redis: give this one later")
        self._given.put(packed)

    def left(self) -> int:
        """How many are not sent yet."""
        return self._given.qsize() + len(self._unsent)

    def send(self, most: int) -> None:
        """Send up to `most`, in order; what Redis does not take now is tried again a second later.

        A label that Redis refuses for good is logged and dropped: no label ends a program that
        reads verdicts.
        """
        while not self._given.empty():
            self._unsent.append(self._given.get())
        if self._clock_s() < self._not_before_s:
            return
        try:
            for packed in list(self._unsent)[:most]:
                self._stream.send(packed)
                self._unsent.popleft()
        except RedisUnfit as error:
            self._unsent.popleft()
            _log.error("label.refused", extra={"why": str(error)})  # no bug
        except (ConnectionLost, RedisFull) as error:
            self._not_before_s = self._clock_s() + TRY_AGAIN_S
            _log.warning("labels.waiting", extra={"labels": self.left(), "why": str(error)})

    def close(self) -> None:
        """Send the rest; what Redis does not take is logged, with its number."""
        self._not_before_s = self._clock_s()
        before = 0
        while (left := self.left()) and left != before:
            before = left
            self.send(MOST_UNSENT)
        if left:
            _log.error("labels.unsent", extra={"labels": left})
