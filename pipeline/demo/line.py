"""The parts of a folder passed down a line: camera, worker and consumer, processes of their own."""

import contextlib
import json
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from engines.commandline.terminal import headed
from pipeline.codecs import Transport
from pipeline.commands.subprocesses import ChildProcess, ProcessFailed, ProcessGroup, wait_until
from pipeline.errors import BrokenPromise
from pipeline.progress import progress
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger

LINE = "demo"
_WAIT_S = 60.0
_TICK_S = 0.1


@dataclass(frozen=True, slots=True)
class Inspection:
    """What to inspect, and how."""

    engine: Path
    pictures: Path
    parts: int  # in it
    rate: float  # parts a second
    codec: Transport
    out: Path  # gets verdicts.jsonl, overlays, reconcile.json, logs and the line's Redis

    @property
    def overlays(self) -> Path:
        """Where the pictures of the bad parts go."""
        return self.out / "overlays"


def inspect(asked: Inspection, console: Console) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Pass every part down the line; its verdicts and what `pipeline-reconcile` says.

    Raises:
        ProcessFailed: a process of the line ended.
        BrokenPromise: a part waits for its verdict without end.
    """
    console.print(headed("4 inspect", f"{asked.parts} parts at {asked.rate:g} a second"))
    out = asked.out
    for stale in (asked.overlays, out / "redis"):
        if stale.exists():
            shutil.rmtree(stale)
    environment = {"PRN_STATE_DIR": str((out / "redis").resolve()), "PRN_LOG_FORMAT": "json"}
    with (
        open_connection(Access(""), out / "redis") as connection,
        ProcessGroup(out / "logs", environment) as processes,
    ):
        worker = _started(processes, "worker", "--engine", str(asked.engine))
        consumer = _consumer(processes, asked)
        _wait_for_worker(connection, worker)
        camera = _camera(processes, asked)
        _follow(Ledger(connection.client, LINE), asked.parts, [worker, consumer, camera])
        camera.wait(_WAIT_S)
        consumer.wait(_WAIT_S)
        console.print(headed("5 prove", "one verdict for every part"))
        reconcile = _started(processes, "reconcile", "--json", to=out / "reconcile.json")
        with contextlib.suppress(ProcessFailed):
            reconcile.wait(_WAIT_S)
        worker.check(worker.stop())
    lines = _verdicts(asked).read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines], json.loads((out / "reconcile.json").read_text())


def _started(
    processes: ProcessGroup, name: str, *flags: str, to: Path | None = None
) -> ChildProcess:
    return processes.start(name, f"pipeline-{name}", "--line", LINE, *flags, to=to)


def _consumer(processes: ProcessGroup, asked: Inspection) -> ChildProcess:
    flags = ["--from-start", "--count", str(asked.parts)]
    flags += ["--overlay-dir", str(asked.overlays), "--pictures", str(asked.pictures)]
    return _started(processes, "consume", *flags, to=_verdicts(asked))


def _camera(processes: ProcessGroup, asked: Inspection) -> ChildProcess:
    flags = ["--source", f"folder:{asked.pictures}", "--rate", str(asked.rate)]
    flags += ["--codec", asked.codec.value, "--part-pattern", r"(.+)\.\w+$"]
    return _started(processes, "camera", *flags)


def _verdicts(asked: Inspection) -> Path:
    return asked.out / "verdicts.jsonl"


def _wait_for_worker(connection: RedisConnection, worker: ChildProcess) -> None:
    controls = Controls(connection.client, LINE)

    def beats() -> bool:
        if not worker.alive():
            worker.check(worker.process.returncode)
        return bool(controls.workers())

    wait_until(beats, _WAIT_S, "the worker's first heartbeat")


def _follow(ledger: Ledger, parts: int, children: list[ChildProcess]) -> None:
    """Show verdicts as they come, until there is one for every part."""
    with progress("verdicts", parts, shown=sys.stderr.isatty()) as advance:
        shown, moved_s = 0, time.monotonic()
        while shown < parts:
            answered = sum(ledger.snapshot().counts.values())
            if answered > shown:
                advance(answered - shown)
                shown, moved_s = answered, time.monotonic()
            for child in children:
                if not child.alive():
                    child.check(child.process.returncode)
            if time.monotonic() - moved_s > _WAIT_S:
                raise BrokenPromise(f"no verdict for {_WAIT_S:.0f} s, {parts - shown} to come")
            time.sleep(_TICK_S)
