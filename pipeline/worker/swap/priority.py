"""Work that yields to the worker's: threads that the system runs where nobody else wants the core.

Linux gives every thread a priority of its own, and threads that it starts inherit it. So those that
an engine starts while it is loaded are as low as the loader, and must be raised before it judges:
an engine at the lowest priority took 40 times as long on a busy machine (docs/experiments.md).
Lowering is everyone's right, raising is not: where a process may not, nothing is lowered.
"""

import os
import threading
from contextlib import suppress
from pathlib import Path

LOWEST = 19
_THREADS = Path("/proc/self/task")


def _threads() -> dict[int, int]:
    """The priority of each thread of this process, by its id; empty on other systems."""
    found: dict[int, int] = {}
    if not _THREADS.is_dir():
        return found
    for entry in _THREADS.iterdir():
        with suppress(ProcessLookupError):
            found[int(entry.name)] = os.getpriority(os.PRIO_PROCESS, int(entry.name))
    return found


def may_raise() -> bool:
    """Whether this process may give a thread its priority back."""
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


class Lowered:
    """The threads that were lowered with one newcomer."""

    def __init__(self) -> None:
        self._usual: int | None = None
        self._known: set[int] = set()

    def enter(self) -> None:
        """Lower the calling thread, and with it those that it starts, if they may be raised."""
        if not may_raise():
            return
        self._known = set(_threads())
        mine = threading.get_native_id()
        self._usual = os.getpriority(os.PRIO_PROCESS, mine)
        os.setpriority(os.PRIO_PROCESS, mine, LOWEST)

    def raise_all(self) -> None:
        """Give every thread that was started low the usual priority; safe to repeat."""
        if self._usual is None:
            return
        for thread, priority in _threads().items():
            if thread not in self._known and priority == LOWEST:
                with suppress(ProcessLookupError):
                    os.setpriority(os.PRIO_PROCESS, thread, self._usual)
