"""The faults of a drill: kills, and with --chaos stops, cuts, delays and half-open connections."""

import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.drill.line import ROLES, DrilledLine
from pipeline.drill.proxy import FaultyProxy

LONGEST_STOP_S = 4.0  # of a process; its frames are taken over before
LONGEST_REDIS_STOP_S = 2.0
LONGEST_DELAY_S = 0.3  # of each packet
RECOVERY_S = 3.0  # after a fault, until a half-open connection is given up
WORKERS = 2
_PAUSE_S = (0.5, 2.0)  # between two faults
_REDIS_SHARE = 0.2  # of the faults


@dataclass(frozen=True, slots=True)
class KillPlan:
    """Which processes are killed when."""

    frames: int
    worker_life_s: float
    camera_kills: int
    redis_kills: int


class Kills:
    """Kills one worker every few seconds, the camera and Redis at marks on the way."""

    def __init__(self, plan: KillPlan, line: DrilledLine, rng: random.Random) -> None:
        self._plan, self._line, self._rng = plan, line, rng
        self._camera_marks = _marks(plan.frames, plan.camera_kills, 0.0)
        self._redis_marks = _marks(plan.frames, plan.redis_kills, 0.5)
        self._next_worker_s: float | None = None
        self.done: Counter[str] = Counter()

    def step(self, answered: int, now_s: float, *, spare_worker: bool) -> None:
        """Kill whatever is due; a worker only where the other one is sound."""
        if self._next_worker_s is None:
            self._next_worker_s = now_s + 2 * self._plan.worker_life_s
        if now_s > self._next_worker_s and not spare_worker:
            self.done["worker"] += self._line.kill("victim")
            self._line.restart("victim")
            self._next_worker_s = now_s + self._plan.worker_life_s * self._rng.uniform(0.5, 1.5)
        if self._camera_marks and answered > self._camera_marks[0]:
            self._camera_marks.pop(0)
            self._kill_camera()
        marked = self._redis_marks and answered > self._redis_marks[0]
        if marked and self._line.stop_redis(signal.SIGKILL):
            self._redis_marks.pop(0)
            self.done["redis"] += 1

    def _kill_camera(self) -> None:
        """Kill the camera and start another; not one that has shown every part.

        Such a one forgets where it was, and the next would show all parts again. It stands still
        while its book is read, so that it cannot come to its end meanwhile.
        """
        camera = self._line.children["camera"]
        if not camera.alive():
            return
        camera.suspend()
        if self._line.has_shown_all():
            camera.resume()
            return
        self.done["camera"] += self._line.kill("camera")
        self._line.restart("camera")


class Chaos:
    """One fault after the other, each on one process or one process's connections.

    One worker is always left alone: what nobody is there to judge has to wait.
    """

    def __init__(
        self, line: DrilledLine, proxies: Mapping[str, FaultyProxy], rng: random.Random
    ) -> None:
        self._line, self._proxies, self._rng = line, proxies, rng
        self._end: Callable[[], None] | None = None
        self._until_s = 0.0
        self._worker_harmed_until_s = 0.0
        self.holds_a_process = False  # which therefore must not be killed now
        self.done: Counter[str] = Counter()

    def step(self, now_s: float) -> None:
        """End the fault that is over, or begin another."""
        if now_s < self._until_s:
            return
        if self._end is not None:
            self.end()
            self._until_s = now_s + self._rng.uniform(*_PAUSE_S)
            return
        if self._rng.random() < _REDIS_SHARE:
            self._until_s = now_s + self._stop_redis()
            return
        role = self._rng.choice(ROLES)
        if role != "camera":
            if self._line.living_workers() < WORKERS or self.harms_a_worker(now_s):
                return
            self._worker_harmed_until_s = now_s + LONGEST_STOP_S + RECOVERY_S
        begin = self._rng.choice((self._stop, self._cut, self._delay, self._lose))
        self._until_s = now_s + begin(role)

    def harms_a_worker(self, now_s: float) -> bool:
        """Return whether a worker suffers from a fault, or has just done."""
        return now_s < self._worker_harmed_until_s

    def end(self) -> None:
        """End the fault that is going on, if one is."""
        if self._end is not None:
            self._end()
        self._end, self.holds_a_process = None, False

    def _stop(self, role: str) -> float:
        """Stop a process for a while; return for how long, seconds."""
        child = self._line.children[role]
        if not child.alive():
            return 0.0
        child.suspend()

        def resume() -> None:
            if child.alive():
                child.resume()

        self.done[f"{role} stopped"] += 1
        self._end, self.holds_a_process = resume, True
        return self._rng.uniform(0.2, LONGEST_STOP_S)

    def _stop_redis(self) -> float:
        if not self._line.stop_redis(signal.SIGSTOP):
            return 0.0
        self.done["redis stopped"] += 1
        self._end, self.holds_a_process = self._line.resume_redis, True
        return self._rng.uniform(0.2, LONGEST_REDIS_STOP_S)

    def _cut(self, role: str) -> float:
        if self._proxies[role].cut():
            self.done[f"connections of {role} cut"] += 1
        return 0.0

    def _delay(self, role: str) -> float:
        proxy = self._proxies[role]
        proxy.delay_s = self._rng.uniform(0.0, LONGEST_DELAY_S)

        def hurry() -> None:
            proxy.delay_s = 0.0

        self.done[f"packets of {role} delayed"] += 1
        self._end = hurry
        return self._rng.uniform(0.5, LONGEST_STOP_S)

    def _lose(self, role: str) -> float:
        if self._proxies[role].swallow():
            self.done[f"connections of {role} half open"] += 1
        return 0.0


def _marks(frames: int, kills: int, shift: float) -> list[int]:
    return [int(frames * (kill + 1 - shift) / (kills + 1)) for kill in range(kills)]
