"""Redis's clock, reckoned from answers that carry its time and from this machine's monotonic clock.

Deadlines are promised and decided on Redis's clock alone. No wall clock of a camera or a worker
takes part, so that none can shift a deadline when it is wrong or stepped.
"""

import time
from collections.abc import Callable

_SLEW = 1e-3  # by so much may two clocks drift apart: NTP slews by half of it at most


class ServerClock:
    """Reckons Redis's time to within the shortest round trip seen lately."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start without an estimate.

        Args:
            clock: monotonic seconds.
        """
        self._clock = clock
        self._ahead_ms: tuple[float, float] | None = None  # least and most, against `clock`
        self._noted_s = 0.0

    def monotonic_s(self) -> float:
        """Return what to note as the time before a command is sent."""
        return self._clock()

    def note(self, server_ms: float, sent_s: float) -> None:
        """Learn from an answer that has just come.

        Args:
            server_ms: Redis's time in it.
            sent_s: when the command was sent, by `monotonic_s`.
        """
        now_s = self._clock()
        low, high = server_ms - now_s * 1e3, server_ms - sent_s * 1e3
        if self._ahead_ms is not None:
            drift_ms = _SLEW * (now_s - self._noted_s) * 1e3
            narrow = max(low, self._ahead_ms[0] - drift_ms), min(high, self._ahead_ms[1] + drift_ms)
            if narrow[0] <= narrow[1]:
                low, high = narrow  # else Redis's clock was stepped, or another server answers
        self._ahead_ms, self._noted_s = (low, high), now_s

    def now_ms(self) -> float | None:
        """Return Redis's time, ahead by a round trip at most; None before any answer."""
        return None if self._ahead_ms is None else self._clock() * 1e3 + self._ahead_ms[1]
