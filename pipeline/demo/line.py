"""The demo's line: a worker and cameras as processes of their own, heard by the demo itself."""

import contextlib
import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from engines.registry.registry import Registry
from pipeline.camera.sources.folder import list_pictures
from pipeline.codecs import Transport
from pipeline.commands.subprocesses import ChildProcess, ProcessFailed, ProcessGroup, wait_until
from pipeline.consumer import Verdicts
from pipeline.errors import BrokenPromise
from pipeline.frames import Decision
from pipeline.progress import progress
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger
from pipeline.streams.swap_coordinator import RedisSwapCoordinator
from pipeline.verdicts import verdict_fields
from pipeline.wire import RolloutState, decode_report, decode_rollout_record

if TYPE_CHECKING:  # it needs an extra
    from pipeline.commands.overlay import OverlayFiles

LINE = "demo"
_PROGRAM = "demo"
_FLOW = "flow"  # the camera whose parts pass while an engine is learned and swapped
_WAIT_S = 60.0
_SWAP_WAIT_S = 180.0
_TICK_S = 0.1
_SHADOW_FRAMES, _WATCH_FRAMES = 30, 100  # fewer than a plant's, for an audience
_WATCH_SLOWER = 10  # a demo's machine does other things too; a plant's is measured at 1.5
Row = dict[str, Any]  # a verdict, as `pipeline-consume` prints it


@dataclass(frozen=True, slots=True)
class LineFiles:
    """Where the line of a demo keeps things."""

    out: Path

    @property
    def registry(self) -> Path:
        """Holds the engines; the worker serves the one in force."""
        return self.out / "demo-registry"

    @property
    def redis(self) -> Path:
        """The embedded server's data."""
        return self.out / "redis"

    @property
    def overlays(self) -> Path:
        """Gets a picture of each bad part."""
        return self.out / "overlays"

    @property
    def passing(self) -> Path:
        """Links to the parts, in the order in which they pass."""
        return self.out / "demo-passing"

    def clear(self) -> None:
        """Remove what an earlier demo left."""
        for stale in (self.registry, self.redis, self.overlays):
            if stale.exists():
                shutil.rmtree(stale)


@dataclass(frozen=True, slots=True)
class PassingParts:
    """Parts to pass once."""

    mixed: Path  # as `mix_parts` lays them out
    pictures: Path  # by KIND/NAME, to draw overlays on
    parts: int


def mix_parts(pictures: Path, folder: Path, seed: int) -> Path:
    """Link the pictures of all kinds into `folder` in a random order, as `NUMBER/KIND/NAME`.

    Real parts come mixed; a line that passes all good ones first would look as if it had changed.
    """
    if folder.exists():
        shutil.rmtree(folder)  # links go, what they lead to stays
    names = list_pictures(pictures)
    for number, place in enumerate(np.random.default_rng(seed).permutation(len(names))):
        link = folder / f"{number:05d}" / names[place]
        link.parent.mkdir(parents=True)
        link.symlink_to((pictures / names[place]).resolve())
    return folder


@contextmanager
def open_line(files: LineFiles) -> Iterator["DemoLine"]:
    """Start a worker that serves the registry's engine, and hear its verdicts."""
    environment = {"PRN_STATE_DIR": str(files.redis.resolve()), "PRN_LOG_FORMAT": "json"}
    with (
        open_connection(Access(""), files.redis) as connection,
        ProcessGroup(files.out / "logs", environment) as processes,
        contextlib.closing(Verdicts(connection, LINE, _PROGRAM, from_start=True)) as verdicts,
    ):
        line = DemoLine(files, connection, processes, verdicts)
        line.wait_for_worker()
        yield line


class DemoLine:
    """Passes parts down a line, and keeps every verdict that it hears."""

    def __init__(
        self,
        files: LineFiles,
        connection: RedisConnection,
        processes: ProcessGroup,
        verdicts: Verdicts,
    ) -> None:
        self._files = files
        self._processes = processes
        self._controls = Controls(connection.client, LINE)
        self._ledger = Ledger(connection.client, LINE)
        self._coordinator = RedisSwapCoordinator(connection.client, LINE, _PROGRAM)
        self._verdicts = verdicts
        self.rows: list[Row] = []
        self._worker = self._start(
            *("worker", "--registry", str(files.registry)),
            *("--shadow-share", "0.5", "--shadow-frames", str(_SHADOW_FRAMES)),
            *("--watch-frames", str(_WATCH_FRAMES), "--watch-slower", str(_WATCH_SLOWER)),
        )

    def wait_for_worker(self) -> None:
        """Wait until the worker serves."""
        wait_until(lambda: bool(self._reports()), _WAIT_S, "the worker's first heartbeat")

    def inspect(
        self, camera: str, passing: PassingParts, rate: float, codec: Transport
    ) -> list[Row]:
        """Pass each part once, and draw overlays; returns their verdicts.

        Raises:
            ProcessFailed: a process of the line ended.
            BrokenPromise: a part waits for its verdict without end.
        """
        from pipeline.commands.overlay import OverlayFiles, PictureFinder  # noqa: PLC0415  # an extra

        overlays = OverlayFiles(self._files.overlays, PictureFinder(passing.pictures))
        running = self._camera(camera, passing.mixed, rate, codec)
        parts = passing.parts
        heard: list[Row] = []
        with progress("verdicts", parts, shown=sys.stderr.isatty()) as advance:
            moved_s = time.monotonic()
            while len(heard) < parts:
                row = self._hear(overlays)
                if row is not None and row["camera"] == camera:
                    heard.append(row)
                    moved_s = time.monotonic()
                    advance(1)
                if time.monotonic() - moved_s > _WAIT_S:
                    missing = parts - len(heard)
                    raise BrokenPromise(f"no verdict for {_WAIT_S:.0f} s, {missing} to come")
                if row is None:
                    self._check(running)
        running.wait(_WAIT_S)
        return heard

    @contextmanager
    def flow(self, mixed: Path, rate: float, codec: Transport) -> Iterator[None]:
        """Pass parts, over and over, while the context lasts."""
        camera = self._camera(_FLOW, mixed, rate, codec, "--passes", "0")
        yield
        camera.check(camera.stop())

    def swap_to(self, version: str) -> str:
        """Wait until the line has decided on the promoted version, while parts pass.

        Returns: why it was refused; "" where the line serves it now.
        """
        registry = Registry(str(self._files.registry))
        sha256 = registry.version(version).sha256
        outcome: list[str] = []

        def decided() -> bool:
            self._hear(None)
            records = map(decode_rollout_record, self._coordinator.read_records().values())
            for record in records:
                if record.version == version and record.state is RolloutState.REFUSED:
                    outcome.append(record.why)
                serves = any(report["sha256"] == sha256 for report in self._reports())
                if record.version == version and record.state is RolloutState.HELD and serves:
                    outcome.append("")
            return bool(outcome)

        wait_until(decided, _SWAP_WAIT_S, f"the line's decision on {version}")
        return outcome[-1]

    def prove(self) -> Row:
        """Hear what is left, and let `pipeline-reconcile` prove the line; returns its answer."""
        to = self._files.out / "reconcile.json"

        def heard_all() -> bool:
            while self._hear(None) is not None:
                pass
            return len(self.rows) >= sum(self._ledger.snapshot().counts.values())

        wait_until(heard_all, _WAIT_S, "every verdict")
        reconcile = self._start("reconcile", "--json", to=to)
        with contextlib.suppress(ProcessFailed):  # what is broken is in what it printed
            reconcile.wait(_WAIT_S)
        self._worker.check(self._worker.stop())
        lines = (json.dumps(row) for row in self.rows)
        (self._files.out / "verdicts.jsonl").write_text("\n".join(lines) + "\n", "utf-8")
        proof: Row = json.loads(to.read_text("utf-8"))
        return proof

    def heard_twice(self) -> int:
        """How many parts this program heard more than one verdict for."""
        times = Counter((row["camera"], row["seq"]) for row in self.rows)
        return sum(count > 1 for count in times.values())

    def _hear(self, overlays: "OverlayFiles | None") -> Row | None:
        verdict = self._verdicts.next(_TICK_S)
        if verdict is None:
            return None
        if overlays and verdict.decision is not Decision.OK and verdict.meta.camera != _FLOW:
            overlays.write(verdict)
        self._verdicts.acknowledge(verdict)
        self.rows.append(verdict_fields(verdict, with_mask=False))
        return self.rows[-1]

    def _reports(self) -> list[Row]:
        self._check()
        return [decode_report(beat) for beat in self._controls.workers().values()]

    def _check(self, *others: ChildProcess) -> None:
        """Raise ProcessFailed if the worker has ended, or another process has ended badly."""
        if not self._worker.alive():
            self._worker.check(self._worker.process.returncode)
        for child in others:
            if not child.alive():
                child.check(child.process.returncode)

    def _camera(
        self, name: str, pictures: Path, rate: float, codec: Transport, *flags: str
    ) -> ChildProcess:
        return self._start(
            *("camera", "--camera", name, "--source", f"folder:{pictures}", "--rate", str(rate)),
            *("--codec", codec.value, "--part-pattern", r"^\d+/(.+)\.\w+$", *flags),
        )

    def _start(self, name: str, *flags: str, to: Path | None = None) -> ChildProcess:
        return self._processes.start(name, f"pipeline-{name}", "--line", LINE, *flags, to=to)
