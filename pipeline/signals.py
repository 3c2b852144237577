"""SIGTERM and SIGINT, turned into a call that ends a command in order."""

import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

FORCED_STATUS = 130
_SIGNALLED, _LEFT = "signalled", "left"


@contextmanager
def stopped_by_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call `stop` at the first SIGTERM or SIGINT; a second one ends the process at once.

    A handler runs wherever the main thread happens to be, maybe with a lock in its hands; so it
    only puts a mark into a queue that is made for that, and `stop` runs in a thread of its own,
    where it may take locks.
    """
    marks: queue.SimpleQueue[str] = queue.SimpleQueue()
    seen = False

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        del number, frame
        if seen:
            os._exit(FORCED_STATUS)
        seen = True
        marks.put(_SIGNALLED)

    def wait() -> None:
        if marks.get() == _SIGNALLED:
            stop()

    waiter = threading.Thread(target=wait, name="signals", daemon=True)
    waiter.start()
    numbers = (signal.SIGTERM, signal.SIGINT)
    wakeup = signal.set_wakeup_fd(-1)  # what ends a start must not end what stops in order
    before = {number: signal.signal(number, on_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        marks.put(_LEFT)
        waiter.join()
