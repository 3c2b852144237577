"""`pipeline-drill`: faults on purpose, and the proof that no part paid for them.

One camera offers drawn parts as fast as the line takes them; two workers score them with the fixed
engine, whose decision the drill knows for every part. One worker is killed with SIGKILL every few
seconds and replaced; the camera and Redis are killed and restarted in between. With --chaos,
processes also stand still for seconds, and their connections are delayed, cut, or left half open.
The drill reads every verdict itself and counts, per part; it also checks that each verdict was made
from the picture of its own part. At the end `pipeline-reconcile` says the same from the line's
books. With --rollback, Redis goes back to earlier states on purpose, and the books must say so.
"""

import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.table import Table

from engines.commandline.flags import Folder
from engines.commandline.run import CommandSettings
from engines.commandline.terminal import Terminal, headed
from pipeline.codecs import Codec, Transport
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ProcessGroup, stopping_on_signals
from pipeline.drill.checks import VerdictCounter
from pipeline.drill.faults import Chaos, KillPlan, Kills
from pipeline.drill.line import LINE, ROLES, DrilledLine, DrillPlan
from pipeline.drill.pictures import write_engine
from pipeline.drill.proxy import FaultyProxy
from pipeline.drill.rollback import ServerRollbacks
from pipeline.logs import start_logs
from pipeline.progress import progress
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.streams.embedded import socket_path
from pipeline.streams.ledger import Ledger

TICK_S = 0.2
PAGE = 1000
END_WAIT_S = 90.0
ROLLED_WAIT_S = 20.0  # for verdicts of parts that Redis lost: there will be none


class DrillSettings(CommandSettings):
    """Kill workers, camera and Redis while parts pass; prove one verdict for every part."""

    frames: int = Field(default=200_000, ge=1, description="parts to pass")
    chaos: bool = Field(
        default=False,
        description="also stop processes for seconds, and delay, cut or half open connections",
    )
    rollback: bool = Field(
        default=False,
        description="let Redis lose its last writes, four times; pass if the proof says so",
    )
    worker_life_s: float = Field(default=4.0, gt=0, description="one worker is killed after, s")
    camera_kills: int = Field(default=2, ge=0, description="times that the camera is killed")
    redis_kills: int = Field(default=2, ge=0, description="times that Redis is killed")
    size: int = Field(default=64, ge=8, le=1024, description="height and width of a frame, pixels")
    codec: Transport = Field(default=Codec.RAW, description="how pixels travel")
    seed: int = Field(default=1, ge=0, description="of the times of the faults")
    folder: Folder | None = Field(default=None, description="keep logs and data here")
    as_json: bool = Field(default=False, description="print one JSON object")

    def kill_plan(self) -> KillPlan:
        """Which processes are killed when."""
        return KillPlan(self.frames, self.worker_life_s, self.camera_kills, self.redis_kills)


class Drill:
    """One drill: its line, what is done to it, and what came of it."""

    def __init__(
        self,
        settings: DrillSettings,
        line: DrilledLine,
        counter: VerdictCounter,
        connection: RedisConnection,
        proxies: dict[str, FaultyProxy],
        state: Path,
    ) -> None:
        self._settings, self._connection = settings, connection
        self._ledger = Ledger(connection.client, LINE)
        self._end_s = 0.0
        self.line, self.counter = line, counter
        rng = random.Random(settings.seed)  # noqa: S311  # when to kill is no secret
        self.kills = Kills(settings.kill_plan(), line, rng)
        self.chaos = Chaos(line, proxies, rng) if proxies else None
        self.rollback = (
            ServerRollbacks(line, state, settings.frames, connection.client)
            if settings.rollback
            else None
        )

    def run(self) -> float:
        """Pass all parts; returns seconds."""
        began_s = time.monotonic()
        threading.Thread(target=self._read, name="tally", daemon=True).start()
        with progress("parts", self._settings.frames, shown=sys.stderr.isatty()) as advance:
            shown = 0
            while (done := self.counter.answered) < self._settings.frames and not self._over():
                advance(done - shown)
                shown = done
                self._harm(done, time.monotonic())
                self.line.watch()
                time.sleep(TICK_S)
            advance(self.counter.answered - shown)
        if self.chaos is not None:
            self.chaos.end()
        took_s = time.monotonic() - began_s
        self.line.children["camera"].wait(END_WAIT_S)
        if self.rollback is not None:
            self.rollback.finish(self.counter)
        return took_s

    def broken(self) -> list[str]:
        """Return which promises did not hold, by the drill's own count and by the line's books."""
        if self.rollback is not None:
            return self.rollback.broken(self.counter)
        report = reconcile(self._ledger)
        return [*self.counter.broken(self.line.outages), *report.broken()]

    def _harm(self, done: int, now_s: float) -> None:
        """Begin and end what is due."""
        if self.rollback is not None:
            self.rollback.step(self.counter)
            return
        if self.chaos is not None:
            self.chaos.step(now_s)
            if self.chaos.holds_a_process:
                return
        spared = self.chaos is not None and self.chaos.harms_a_worker(now_s)
        self.kills.step(done, now_s, spare_worker=spared)

    def _over(self) -> bool:
        """Return whether the camera is done and the line has had its time to answer the rest."""
        now_s = time.monotonic()
        if self.line.children["camera"].process.poll() != 0:
            self._end_s = now_s + (ROLLED_WAIT_S if self.rollback else END_WAIT_S)
            return False
        return now_s > self._end_s

    def _read(self) -> None:
        while self.counter.answered < self._settings.frames:
            page = self._connection.retry(
                lambda: self._ledger.results(self.counter.last_id, PAGE), lambda: False
            )
            for result in page:
                self.counter.add(result)
            if len(page) < PAGE:
                time.sleep(TICK_S / 10)


def run(settings: DrillSettings) -> int:
    """Drill, print what was done and what came of it; 1 where a promise was broken."""
    start_logs("error", "text")
    with tempfile.TemporaryDirectory(prefix="prn-drill-") as temporary, stopping_on_signals():
        folder = settings.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        with _drill_in(folder, settings) as drill:
            took_s = drill.run()
            broken = drill.broken()
    figures = _figures(settings, drill, took_s, broken)
    if settings.as_json:
        sys.stdout.write(json.dumps(figures) + "\n")
    else:
        _show(figures)
    return 1 if figures["broken"] else 0


@contextmanager
def _drill_in(folder: Path, settings: DrillSettings) -> Iterator[Drill]:
    """Start all that a drill needs in a folder."""
    state = folder / "redis"
    environment = {"PRN_STATE_DIR": str(state), "PRN_LOG_FORMAT": "json"}
    with ExitStack() as running:
        connection = running.enter_context(open_connection(Access(""), state))
        proxies = {}
        for role in ROLES if settings.chaos else ():
            proxies[role] = FaultyProxy(socket_path(state))
            running.enter_context(proxies[role].running())
        processes = running.enter_context(ProcessGroup(folder / "logs", environment))
        engine = folder / "drill.fixed"
        counter = VerdictCounter(settings.frames, write_engine(engine, settings.size))
        urls = {role: proxy.url for role, proxy in proxies.items()}
        plan = DrillPlan(settings.frames, settings.size, settings.codec.value, engine, urls)
        books = Ledger(connection.client, LINE), Controls(connection.client, LINE)
        line = DrilledLine(plan, processes, state, *books)
        yield Drill(settings, line, counter, connection, proxies, state)


def _figures(
    settings: DrillSettings, drill: Drill, took_s: float, broken: list[str]
) -> dict[str, Any]:
    memories = drill.line.memories.values()
    lasting = [memory for memory in memories if memory.growth_mb is not None]
    return {
        "frames": settings.frames,
        "codec": settings.codec.value,
        "seconds": round(took_s, 1),
        "frames_per_s": round(settings.frames / took_s, 1),
        "kills": dict(drill.kills.done),
        "faults": dict(drill.chaos.done) if drill.chaos else {},
        "restarts": drill.line.restarts,
        "redis_away_s": round(sum(ended - began for began, ended in drill.line.outages) / 1e3, 1),
        "longest_wait_s": round(drill.counter.longest_wait_ms(drill.line.outages) / 1e3, 1),
        "slowest": drill.counter.slowest(drill.line.outages),
        "answers": dict(drill.counter.answers),
        "rollback": dict(drill.rollback.done) if drill.rollback else None,
        "memory": [{**asdict(memory), "growth_mb": memory.growth_mb} for memory in lasting],
        "broken": broken,
    }


def _show(figures: dict[str, Any]) -> None:
    console = Terminal()
    table = Table("what", "figure", title="drill: faults while parts passed")
    for name in ("frames", "codec", "seconds", "frames_per_s", "restarts", "redis_away_s"):
        table.add_row(name.replace("_", " "), str(figures[name]))
    for role, count in figures["kills"].items():
        table.add_row(f"{role} killed", str(count))
    for fault, count in figures["faults"].items():
        table.add_row(fault, str(count))
    for answer, count in figures["answers"].items():
        table.add_row(f"verdicts {answer}", str(count))
    for memory in figures["memory"]:
        shown = f"{memory['settled_mb']:.0f} -> {memory['later_mb']:.0f} MB"
        table.add_row(f"memory of {memory['role']}, {memory['lived_s']:.0f} s", shown)
    console.print(table)
    for sentence in figures["broken"]:
        console.print(headed("broken:", sentence, "bold red"))
    if figures["broken"]:
        return
    if figures["rollback"] is not None:
        said = f"Redis went back {len(figures['rollback'])} times, and all that it lost is named"
        console.print(said, style="bold green")
    else:
        console.print("every part got exactly one verdict", style="bold green")
