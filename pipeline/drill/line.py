"""The line that is drilled: a Redis of its own, two workers and a camera that start again."""

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.commands.subprocesses import ChildProcess, ProcessGroup
from pipeline.drill.checks import Interval, ProcessMemory
from pipeline.drill.pictures import SOURCE, VARIETY
from pipeline.errors import ConnectionLost, RedisFull
from pipeline.streams.connect import translated
from pipeline.streams.control import Controls
from pipeline.streams.embedded import is_running, revive
from pipeline.streams.ledger import Ledger

LINE = "drill"
RESULTS_KEPT = 50_000
ROLES = ("steady", "victim", "camera")


@dataclass(frozen=True, slots=True)
class DrillPlan:
    """What passes through the line, and how."""

    frames: int
    size: int
    codec: str
    engine: Path
    urls: Mapping[str, str]  # of Redis, by role; empty: each role finds the server by its folder


class DrilledLine:
    """Starts and watches the processes of the line, and keeps what happened to Redis."""

    def __init__(
        self,
        plan: DrillPlan,
        processes: ProcessGroup,
        state: Path,
        ledger: Ledger,
        controls: Controls,
    ) -> None:
        self._controls = controls
        self._plan = plan
        self._processes = processes
        self._state = state
        self._ledger = ledger
        self._numbers: Counter[str] = Counter()
        self._away_since_ms: float | None = None
        self.outages: list[Interval] = []  # of Redis
        self.restarts = 0  # of processes that ended though nobody killed them
        self.memories: dict[int, ProcessMemory] = {}
        self.children = {role: self._start(role) for role in ROLES}

    def restart(self, role: str) -> None:
        """Start a role again."""
        self.children[role] = self._start(role)

    def kill(self, role: str) -> bool:
        """Kill a role's process as a power cut would; False where it had ended."""
        if not self.children[role].alive():
            return False
        self.children[role].kill()
        return True

    def watch(self) -> None:
        """Sample memory, note when Redis is back, and start again whatever ended badly."""
        now_s = time.monotonic()
        for role, child in self.children.items():
            self.memories[child.process.pid].sample(now_s)
            status = child.process.poll()
            if status not in (None, 0) and not (role == "camera" and self.has_shown_all()):
                self.restarts += 1
                self.restart(role)
        if (pid := self.redis_pid()) is not None:
            self.memories.setdefault(pid, ProcessMemory("redis", pid, now_s)).sample(now_s)
        if self._away_since_ms is not None and is_running(self._state):
            self.outages.append((self._away_since_ms, _now_ms()))
            self._away_since_ms = None

    def has_shown_all(self) -> bool:
        """Return whether the camera has offered every part; False where Redis does not say."""
        try:
            with translated():
                cameras = self._ledger.snapshot().cameras
        except (ConnectionLost, RedisFull):
            return False
        return bool(cameras) and cameras[0].runs[-1][1] >= self._plan.frames - 1

    def living_workers(self) -> int:
        """Return how many workers serve; 0 where Redis does not say."""
        try:
            return len(self._controls.workers())
        except (ConnectionLost, RedisFull):
            return 0

    def redis_pid(self) -> int | None:
        """Return the server's process; None while it starts."""
        try:
            return int((self._state / "redis.pid").read_text("ascii"))
        except (OSError, ValueError):
            return None

    def stop_redis(self, number: signal.Signals) -> bool:
        """Send SIGKILL or SIGSTOP to the server, from now on away; False where it is just back."""
        pid = self.redis_pid()
        if pid is None or self._away_since_ms is not None:
            return False
        self._away_since_ms = _now_ms()
        os.kill(pid, number)
        return True

    def resume_redis(self) -> None:
        """Continue a server that SIGSTOP stopped."""
        if (pid := self.redis_pid()) is not None:
            os.kill(pid, signal.SIGCONT)

    def revive_redis(self) -> None:
        """Start a server that was killed."""
        revive(self._state)

    def _start(self, role: str) -> ChildProcess:
        self._numbers[role] += 1
        command = "pipeline-camera" if role == "camera" else "pipeline-worker"
        flags = self._camera_flags() if role == "camera" else self._worker_flags()
        if role in self._plan.urls:
            flags += ["--redis-url", self._plan.urls[role]]
        name = f"{role}-{self._numbers[role]}"
        child = self._processes.start(name, command, "--line", LINE, *flags)
        pid = child.process.pid
        self.memories[pid] = ProcessMemory(role, pid, time.monotonic())
        return child

    def _worker_flags(self) -> list[str]:
        return [
            *("--engine", str(self._plan.engine), "--allow-fixed-engine"),
            *("--max-batch", "32"),
            *("--results-kept", str(RESULTS_KEPT)),
        ]

    def _camera_flags(self) -> list[str]:
        plan = self._plan
        return [
            *("--source", SOURCE, "--variety", str(VARIETY), "--count", str(plan.frames)),
            *("--size", f"{plan.size}x{plan.size}", "--codec", plan.codec),
            *("--results-kept", str(RESULTS_KEPT), "--budget-mb", "16"),
        ]


def _now_ms() -> float:
    return time.time() * 1000
