"""`pipeline-drill`: faults on purpose, and the proof that no part paid for them.

One camera offers drawn parts as fast as the line takes them; two workers score them with the fixed
engine. One worker is killed with SIGKILL every few seconds and replaced; the camera and Redis are
killed and restarted in between. The drill reads every verdict itself and counts, per part; it also
checks that each verdict was made from the picture of its own part. At the end `pipeline-reconcile`
says the same from the line's books.
"""

import json
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from engines.backends.fixed import FixedPlan, write_fixed_engine
from engines.commandline.flags import Folder
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal, headed
from pipeline.codecs import Codec, Transport
from pipeline.commands.drill_checks import ProcessMemory, VerdictCounter
from pipeline.commands.proof import Report
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ChildProcess, ProcessGroup, stopping_on_signals
from pipeline.errors import ConnectionLost, RedisFull
from pipeline.logs import start_logs
from pipeline.progress import progress
from pipeline.streams.connect import Access, translated
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.ledger import Ledger

LINE = "drill"
RESULTS_KEPT = 50_000
TICK_S = 0.2
VARIETY = 32  # pictures, shown in turn
PAGE = 1000
END_WAIT_S = 90.0


class DrillSettings(CommandSettings):
    """Kill workers, camera and Redis while parts pass; prove one verdict for every part."""

    frames: int = Field(default=200_000, ge=1, description="parts to pass")
    worker_life_s: float = Field(default=4.0, gt=0, description="one worker is killed after, s")
    camera_kills: int = Field(default=2, ge=0, description="times that the camera is killed")
    redis_kills: int = Field(default=2, ge=0, description="times that Redis is killed")
    size: int = Field(default=64, ge=8, le=1024, description="height and width of a frame, pixels")
    codec: Transport = Field(default=Codec.RAW, description="how pixels travel")
    seed: int = Field(default=1, ge=0, description="of the times of the kills")
    folder: Folder | None = Field(default=None, description="keep logs and data here")
    as_json: bool = Field(default=False, description="print one JSON object")


class Drill:
    """One drill: its processes, what is done to it, and what came of it."""

    def __init__(
        self,
        settings: DrillSettings,
        folder: Path,
        processes: ProcessGroup,
        connection: RedisConnection,
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._connection = connection
        self._folder = folder
        self._rng = random.Random(settings.seed)  # noqa: S311  # when to kill is no secret
        self._ledger = Ledger(connection.client, LINE)
        self._numbers: Counter[str] = Counter()
        self._camera_marks = self._marks(settings.camera_kills)
        self._redis_marks = self._marks(settings.redis_kills, 0.5)
        self._end_s = 0.0
        self.counter = VerdictCounter(settings.frames, VARIETY)
        self.kills: Counter[str] = Counter()
        self.memories: dict[int, ProcessMemory] = {}
        self._engine = folder / "drill.fixed"
        plan = FixedPlan(height=settings.size, width=settings.size)
        write_fixed_engine(self._engine, plan)

    def run(self) -> float:
        """Pass all parts; returns seconds."""
        began_s = time.monotonic()
        self._steady = self._worker("steady")
        self._victim = self._worker("victim")
        self._camera = self._start_camera()
        self._next_kill_s = began_s + 2 * self._settings.worker_life_s
        threading.Thread(target=self._read, name="tally", daemon=True).start()
        with progress("parts", self._settings.frames, shown=sys.stderr.isatty()) as advance:
            shown = 0
            while (done := self.counter.answered) < self._settings.frames and not self._over():
                advance(done - shown)
                shown = done
                self._harm(done, time.monotonic())
                self._watch()
                time.sleep(TICK_S)
            advance(self.counter.answered - shown)
        took_s = time.monotonic() - began_s
        self._camera.wait(END_WAIT_S)
        return took_s

    def _harm(self, done: int, now_s: float) -> None:
        """Kill whatever is due."""
        if now_s > self._next_kill_s:
            self._kill(self._victim, "worker")
            self._victim = self._worker("victim")
            self._next_kill_s = now_s + self._settings.worker_life_s * self._rng.uniform(0.5, 1.5)
        if self._camera_marks and done > self._camera_marks[0] and self._kill_camera():
            self._camera_marks.pop(0)
        if self._redis_marks and done > self._redis_marks[0] and self._kill_redis():
            self._redis_marks.pop(0)

    def _over(self) -> bool:
        """Whether the camera is done and the line has had its time to answer the rest."""
        now_s = time.monotonic()
        if self._camera.alive():
            self._end_s = now_s + END_WAIT_S
            return False
        self._camera.check(self._camera.process.returncode)
        return now_s > self._end_s

    def _marks(self, kills: int, shift: float = 0.0) -> list[int]:
        return [
            int(self._settings.frames * (kill + 1 - shift) / (kills + 1)) for kill in range(kills)
        ]

    def _worker(self, role: str) -> ChildProcess:
        return self._member(
            role,
            "pipeline-worker",
            "--engine",
            str(self._engine),
            "--allow-fixed-engine",
            "--max-batch",
            "32",
            "--results-kept",
            str(RESULTS_KEPT),
        )

    def _start_camera(self) -> ChildProcess:
        settings = self._settings
        return self._member(
            "camera",
            "pipeline-camera",
            "--source",
            "synthetic:1",
            "--variety",
            str(VARIETY),
            "--count",
            str(settings.frames),
            "--size",
            f"{settings.size}x{settings.size}",
            "--codec",
            settings.codec.value,
            "--results-kept",
            str(RESULTS_KEPT),
            "--budget-mb",
            "16",
        )

    def _member(self, role: str, command: str, *flags: str) -> ChildProcess:
        self._numbers[role] += 1
        child = self._processes.start(
            f"{role}-{self._numbers[role]}", command, "--line", LINE, *flags
        )
        pid = child.process.pid
        self.memories[pid] = ProcessMemory(role, pid, time.monotonic())
        return child

    def _kill(self, child: ChildProcess, role: str) -> None:
        if child.alive():
            child.kill()
            self.kills[role] += 1

    def _kill_camera(self) -> bool:
        """Kill the camera and start another; not one that has shown every part.

        Such a one forgets where it was, and the next would show all parts again. It stands still
        while its book is read, so that it cannot come to its end meanwhile.
        """
        if not self._camera.alive():
            return True
        self._camera.process.send_signal(signal.SIGSTOP)
        try:
            with translated():
                (camera_ledger,) = self._ledger.snapshot().cameras
        except (ConnectionLost, RedisFull):
            self._camera.process.send_signal(signal.SIGCONT)
            return False  # Redis is just coming back: another time
        if camera_ledger.runs[-1][1] >= self._settings.frames - 1:
            self._camera.process.send_signal(signal.SIGCONT)
            return True
        self._kill(self._camera, "camera")
        self._camera = self._start_camera()
        return True

    def _kill_redis(self) -> bool:
        """Kill the server; whoever notices first starts it again."""
        try:
            with translated():
                pid = int(self._connection.client.info("server")["process_id"])
        except (ConnectionLost, RedisFull):
            return False  # it is just coming back: another time
        os.kill(pid, signal.SIGKILL)
        self.kills["redis"] += 1
        return True

    def _watch(self) -> None:
        now_s = time.monotonic()
        for child in (self._steady, self._victim, self._camera):
            self.memories[child.process.pid].sample(now_s)
        try:
            pid = int((self._folder / "redis" / "redis.pid").read_text("ascii"))
        except (OSError, ValueError):
            return  # it is just being restarted
        self.memories.setdefault(pid, ProcessMemory("redis", pid, now_s)).sample(now_s)

    def _read(self) -> None:
        while self.counter.answered < self._settings.frames:
            page = self._connection.retry(
                lambda: self._ledger.results(self.counter.last_id, PAGE), lambda: False
            )
            for result in page:
                self.counter.add(result)
            if len(page) < PAGE:
                time.sleep(TICK_S / 10)

    def reconciled(self) -> Report:
        """What the line's own books say."""
        return reconcile(self._ledger)


def run(settings: DrillSettings) -> int:
    """Drill, print what was done and what came of it; 1 where a promise was broken."""
    start_logs("error", "text")
    with tempfile.TemporaryDirectory(prefix="prn-drill-") as temporary, stopping_on_signals():
        folder = settings.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        state = folder / "redis"
        environment = {"PRN_STATE_DIR": str(state), "PRN_LOG_FORMAT": "json"}
        with (
            open_connection(Access(""), state) as connection,
            ProcessGroup(folder / "logs", environment) as processes,
        ):
            drill = Drill(settings, folder, processes, connection)
            took_s = drill.run()
            report = drill.reconciled()
    figures = _figures(settings, drill, took_s, [*drill.counter.broken(), *report.broken()])
    if settings.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _show(figures)
    return 1 if figures["broken"] else 0


def _figures(
    settings: DrillSettings, drill: Drill, took_s: float, broken: list[str]
) -> dict[str, Any]:
    lasting = [memory for memory in drill.memories.values() if memory.growth_mb is not None]
    return {
        "frames": settings.frames,
        "codec": settings.codec.value,
        "seconds": round(took_s, 1),
        "frames_per_s": round(settings.frames / took_s, 1),
        "kills": dict(drill.kills),
        "answers": dict(drill.counter.answers),
        "memory": [{**asdict(memory), "growth_mb": memory.growth_mb} for memory in lasting],
        "broken": broken,
    }


def _show(figures: dict[str, Any]) -> None:
    console = Terminal()
    table = Table("what", "figure", title="drill: processes killed while parts passed")
    for name in ("frames", "codec", "seconds", "frames_per_s"):
        table.add_row(name.replace("_", " "), str(figures[name]))
    for role, count in figures["kills"].items():
        table.add_row(f"{role} killed", str(count))
    for answer, count in figures["answers"].items():
        table.add_row(f"verdicts {answer}", str(count))
    for memory in figures["memory"]:
        shown = f"{memory['settled_mb']:.0f} -> {memory['later_mb']:.0f} MB"
        table.add_row(f"memory of {memory['role']}, {memory['lived_s']:.0f} s", shown)
    console.print(table)
    for sentence in figures["broken"]:
        console.print(headed("broken:", sentence, "bold red"))
    if not figures["broken"]:
        console.print("every part got exactly one verdict", style="bold green")
