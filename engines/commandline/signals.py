"""Handle SIGTERM from a command's first moment, also as the first process of a container.

The kernel does not deliver a signal to the first process of a container unless it is handled there.
So a long-running command handles SIGTERM before it imports slow modules.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STUCK_S = 2.0  # the main thread may be inside a library, such as one that loads an engine
FORCED_STATUS = 128 + signal.SIGTERM


class _Deferral:
    """State of the deferral: if it is active, and the handler that waits for its end."""

    lasts = False
    handler: Callable[[int, FrameType | None], None] | None = None


_deferral = _Deferral()


@contextmanager
def sigterm_deferred() -> Iterator[None]:
    """Delay SIGTERM until the main thread leaves the context.

    For calls into libraries whose threads use the caller's memory: an exception during the call
    would free that memory. A call that takes too long is ended at once, as usual.
    """
    if _deferral.lasts or threading.current_thread() is not threading.main_thread():
        yield
        return
    _deferral.lasts = True
    try:
        yield
    finally:
        _deferral.lasts = False
        handler, _deferral.handler = _deferral.handler, None
        if handler is not None:
            handler(signal.SIGTERM, None)


@contextmanager
def ended_by_sigterm(
    status: int = 0, force: Callable[[int], object] = os._exit, stuck_s: float = STUCK_S
) -> Iterator[None]:
    """End the process at SIGTERM by raising SystemExit, so that open resources are closed.

    If the main thread does not react, or a second signal comes, the process ends at once.
    `pipeline.signals.stopped_by_signals` replaces this handler while it is active.

    Args:
        status: the exit status.
        force: a function that ends the process at once with a status.
        stuck_s: how long the main thread may take to react to the signal, seconds.
    """
    heard = threading.Event()

    def on_signal(number: int, frame: FrameType | None) -> None:
        del number, frame
        if heard.is_set():
            force(FORCED_STATUS)
        if _deferral.lasts:
            _deferral.handler = on_signal
            return
        heard.set()
        raise SystemExit(status)

    def watch() -> None:
        while number := os.read(read_end, 1):
            if number[0] == signal.SIGTERM and not heard.wait(stuck_s):
                force(FORCED_STATUS)

    read_end, write_end = os.pipe()
    if sys.platform != "win32":  # where nothing asks for it
        os.set_blocking(write_end, False)
    watcher = threading.Thread(target=watch, name="sigterm", daemon=True)
    watcher.start()
    _keep_children_apart(on_signal)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.set_wakeup_fd(-1)
        os.close(write_end)
        watcher.join(stuck_s)
        os.close(read_end)


def _keep_children_apart(handler: Callable[[int, FrameType | None], None]) -> None:
    """Restore default SIGTERM handling in a forked child, without writing to the shared pipe."""
    if sys.platform == "win32":
        return  # nothing forks there
    numbers = {signal.SIGTERM}

    def leave_the_pipe() -> None:
        signal.set_wakeup_fd(-1)
        if signal.getsignal(signal.SIGTERM) is handler:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)

    os.register_at_fork(
        before=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, numbers),
        after_in_parent=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers),
        after_in_child=leave_the_pipe,
    )
