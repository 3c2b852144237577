"""A candidate is loaded, and computes until it judges, where nobody else wants the core.

Linux gives every thread a priority of its own, and threads that it starts inherit it: so those that
an engine starts are as low as its loader, and must be raised before it judges. A loader that waits
for a core while it has Python's lock keeps every frame waiting: so what takes long is compiled in
another process (`engines.precompile`), and what is left has the lock for milliseconds only.
Lowering is everyone's right, raising is not: where a process may not raise, nothing is lowered.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

LOWEST = 19
_THREADS = Path("/proc/self/task")


def _threads() -> set[int]:
    """The threads of this process that are not Python's; none on other systems."""
    if not _THREADS.is_dir():
        return set()
    python = {thread.native_id for thread in threading.enumerate()}
    return {int(entry.name) for entry in _THREADS.iterdir()} - python


def may_raise() -> bool:
    """Return whether this process may give a thread its priority back."""
    if not _THREADS.is_dir():
        return False
    allowed: list[bool] = []

    def attempt() -> None:
        mine = threading.get_native_id()
        usual = os.getpriority(os.PRIO_PROCESS, mine)
        with suppress(PermissionError):
            os.setpriority(os.PRIO_PROCESS, mine, LOWEST)
            os.setpriority(os.PRIO_PROCESS, mine, usual)
            allowed.append(True)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    return bool(allowed)


class EngineThreads:
    """The loader of an engine and the threads that it starts, until the engine judges."""

    def __init__(self) -> None:
        self._before: set[int] = set()
        self._usual: int | None = None

    def lower(self) -> None:
        """Lower the priority of the calling thread and of those that it starts."""
        if not may_raise():
            return
        self._before = _threads()
        mine = threading.get_native_id()
        self._usual = os.getpriority(os.PRIO_PROCESS, mine)
        os.setpriority(os.PRIO_PROCESS, mine, LOWEST)

    def raise_again(self) -> None:
        """Set the usual priority of those that were started since; safe to repeat."""
        if self._usual is None:
            return
        for thread in _threads() - self._before:
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, thread, self._usual)
