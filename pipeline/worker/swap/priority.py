"""A newcomer's own threads yield to everyone until it judges.

Linux gives every thread a priority of its own. An engine's threads compute without Python's lock,
so they may wait for a core while it shadows. The thread that loads it may not: at the lowest
priority it held that lock while it waited for a core, and every frame waited with it
(docs/experiments.md). Lowering is everyone's right, raising is not: where a process may not raise,
nothing is lowered.
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


class EngineThreads:
    """The threads that an engine started, from before it is opened until it judges."""

    def __init__(self) -> None:
        self._before = _threads()
        self._lowered: dict[int, int] = {}  # thread -> its usual priority

    def lower(self) -> None:
        """Let those that were started since then yield to everyone, if they can be raised again."""
        if not may_raise():
            return
        for thread in _threads() - self._before:
            with suppress(ProcessLookupError):
                self._lowered[thread] = os.getpriority(os.PRIO_PROCESS, thread)
                os.setpriority(os.PRIO_PROCESS, thread, LOWEST)

    def raise_again(self) -> None:
        """Give them back what they had; safe to repeat."""
        for thread, usual in self._lowered.items():
            with suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, thread, usual)
        self._lowered.clear()
