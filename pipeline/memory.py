"""Resident memory of processes over their life."""

from dataclasses import dataclass

from pipeline.crew import resident_mb

SETTLED_S = 60.0  # after so long a process has reached its size


@dataclass
class Memory:
    """Resident memory of one process over its life."""

    role: str
    pid: int
    since_s: float
    settled_mb: float = 0.0  # at most, in its first minute
    later_mb: float = 0.0  # at most, afterwards
    lived_s: float = 0.0

    @property
    def growth_mb(self) -> float | None:
        """How much larger it became after its first minute; None where it did not live on."""
        return self.later_mb - self.settled_mb if self.later_mb else None

    def sample(self, now_s: float) -> None:
        """Take one sample."""
        resident = resident_mb(self.pid)
        if resident == 0:
            return
        self.lived_s = now_s - self.since_s
        if self.lived_s < SETTLED_S:
            self.settled_mb = max(self.settled_mb, resident)
        else:
            self.later_mb = max(self.later_mb, resident)
