"""What is to be published, in order, until the broker has acknowledged each message."""

import threading
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message, QoS 1."""

    topic: str
    payload: Callable[[], bytes]  # made when it is sent: a verdict may have become historical
    retain: bool = False  # only the newest of its topic is of interest
    acknowledged: Callable[[], None] = _nothing  # called when the broker has it


class Outbox:
    """Messages that wait or are in flight; safe from any thread.

    Its callers bound what waits: whoever puts a message waits for those before it.
    """

    def __init__(self, put: Callable[[], None] = _nothing) -> None:
        """Start empty; `put` is called after every message that was added."""
        self._lock = threading.Lock()
        self._waiting: deque[Message] = deque()
        self._latest: OrderedDict[str, Message] = OrderedDict()
        self._in_flight: dict[int, Message] = {}  # by packet id, in the order sent
        self._put = put

    def put(self, message: Message) -> None:
        """Add a message that is sent after all before it.

        A retained one is sent as soon as it can be, in place of one of its topic that waits.
        """
        with self._lock:
            if message.retain:
                self._latest[message.topic] = message
            else:
                self._waiting.append(message)
        self._put()

    def take(self, window: int) -> Message | None:
        """Return the next message to send unless `window` are in flight."""
        with self._lock:
            if len(self._in_flight) >= window:
                return None
            if self._latest:
                return self._latest.popitem(last=False)[1]
            return self._waiting.popleft() if self._waiting else None

    def sent(self, packet_id: int, message: Message) -> None:
        """Note under which packet id a message is in flight."""
        with self._lock:
            self._in_flight[packet_id] = message

    def acknowledge(self, packet_id: int) -> bool:
        """Settle the message of a packet id; return whether there is one."""
        with self._lock:
            message = self._in_flight.pop(packet_id, None)
        if message is not None:
            message.acknowledged()
        return message is not None

    def topic_of(self, packet_id: int) -> str:
        """Return the topic of a message in flight, empty where there is none."""
        with self._lock:
            message = self._in_flight.get(packet_id)
        return message.topic if message else ""

    def disconnected(self) -> None:
        """Put what is in flight back, before what waits: it is sent again."""
        with self._lock:
            in_flight = list(self._in_flight.values())
            self._in_flight.clear()
            self._waiting.extendleft(
                message for message in reversed(in_flight) if not message.retain
            )
            for message in in_flight:
                if message.retain:
                    self._latest.setdefault(message.topic, message)
