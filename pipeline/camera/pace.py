"""When the next shot is due."""

from collections.abc import Callable

Wait = Callable[[float], bool]  # sleeps so many seconds; True: stop now (`threading.Event.wait`)


class FramePacer:
    """Keeps a rate without drift; after a hold-up it goes on from now instead of catching up."""

    def __init__(self, rate: float | None, clock: Callable[[], float], wait: Wait) -> None:
        """Make a pace.

        Args:
            rate: shots a second; None: as fast as they are taken.
            clock: monotonic seconds.
            wait: sleeps; what it returns ends the source.
        """
        self._period_s = None if rate is None else 1 / rate
        self._clock = clock
        self._wait = wait
        self._due: float | None = None

    def stopped(self) -> bool:
        """Wait until the next shot is due; True when the source shall end instead."""
        if self._period_s is None:
            return self._wait(0)
        now = self._clock()
        if self._due is None or self._due + self._period_s < now:
            self._due = now
        stop = self._wait(max(0.0, self._due - now))
        self._due += self._period_s
        return stop
