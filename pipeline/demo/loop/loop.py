"""`pipeline-loop`: a line that learns a new kind of defect while parts pass, on one machine.

A first engine learns without one kind of defect and judges parts of which some have it. A script
labels them as operators would, `trainer-retrain` makes a better engine, the gate proves it, and the
worker takes it between two batches. Ends with what escaped before and after, the latency during the
swap, the time of a rollback, and `pipeline-reconcile`.
"""

import contextlib
import json
import time
from datetime import datetime
from typing import Any

from rich.console import Console

from engines.commandline.terminal import Terminal, headed
from engines.registry.registry import Registry
from pipeline.archive import Archive
from pipeline.commands.subprocesses import (
    ChildProcess,
    ProcessFailed,
    ProcessGroup,
    stopping_on_signals,
    wait_until,
)
from pipeline.demo.loop.data import lay_out, pictures_of, split_pictures
from pipeline.demo.loop.labels import label_lines
from pipeline.demo.loop.report import LoopRecord, Rollback, Span, VerdictRow, report_loop
from pipeline.demo.loop.settings import LoopPaths, LoopSettings, make_room
from pipeline.demo.summary import GOOD
from pipeline.errors import BrokenPromise
from pipeline.logs import start_logs
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.wire import decode_report

LINE = "loop"
STEADY_S = 30.0  # of passing parts before the retraining: what the swap is compared with
SETTLED_S = 5.0  # parts pass for so long after a swap or a rollback
START_WAIT_S = 120.0
COMMAND_WAIT_S = 1800.0
REFUSED_BY_GATE = 3  # status of trainer-retrain


def run(settings: LoopSettings) -> int:
    """Show it; 1 where a promise was broken."""
    start_logs("error", "text")
    console = Terminal()
    make_room(settings.out)
    paths = LoopPaths(settings.out)
    state = {"PRN_STATE_DIR": str((settings.out / "redis").resolve()), "PRN_LOG_FORMAT": "json"}
    with (
        stopping_on_signals(),
        open_connection(Access(""), settings.out / "redis") as connection,
        ProcessGroup(settings.out / "logs", state) as processes,
    ):
        record = _Show(settings, console, paths, connection, processes).run()
    return report_loop(record, settings.out, console)


class _Show:
    """The course of the show, act by act."""

    def __init__(
        self,
        settings: LoopSettings,
        console: Console,
        paths: LoopPaths,
        connection: RedisConnection,
        processes: ProcessGroup,
    ) -> None:
        self._settings = settings
        self._console = console
        self._paths = paths
        self._processes = processes
        self._controls = Controls(connection.client, LINE)
        self._registry = Registry(str(paths.registry))
        self._names: dict[str, str] = {}
        self._seconds: dict[str, float] = {}

    def run(self) -> LoopRecord:
        """Run it all."""
        self._say(1, "divide", "the pictures: what the first engine knows, what comes later")
        self._divide()
        self._say(2, "learn", f"a first engine, that never saw {self._settings.new_kind}")
        first = self._learn()
        worker = self._open_line(first)
        self._say(3, "inspect", f"{self._settings.parts} parts")
        before = self._pass_parts("before", worker)
        self._say(4, "label", "them as operators would, and release what waits")
        self._label(before)
        self._collect_and_release()
        self._say(5, "retrain", "while parts go on passing")
        steady, second, swap = self._retrain_and_swap(worker)
        self._say(6, "inspect", "the same parts again, with the engine in force")
        after = self._pass_parts("after", worker)
        self._say(7, "roll back", "while parts pass")
        rollback = self._roll_back(first, worker)
        self._say(8, "prove", "one verdict for every part")
        reconciled = self._close_line(worker)
        return LoopRecord(
            names=self._names,
            golden=self._golden_parts(before),
            before=before,
            after=after,
            rows=self._rows(),
            engines=(self._sha256(first), self._sha256(second)),
            steady_ms=steady,
            swap_ms=swap,
            rollback=rollback,
            seconds=self._seconds,
            reconciled=reconciled,
        )

    def _divide(self) -> None:
        settings, paths = self._settings, self._paths
        names = pictures_of(settings.data)
        split = split_pictures(
            names, settings.new_kind, settings.parts, settings.of_new_kind, settings.seed
        )
        self._names = lay_out(settings.data, split, paths.known, paths.parts)
        self._console.print(
            f"  {len(split.known)} known, {len(split.parts)} parts to come, of which "
            f"{settings.of_new_kind} with {settings.new_kind}"
        )

    def _learn(self) -> str:
        """Import what is known and train a first engine from it; return its version."""
        store = ("--store", str(self._paths.store))
        self._command("import", "trainer-samples", "import", str(self._paths.known), *store)
        # a first engine has no baseline, and half of the defects leave few golden ones to prove it
        # by
        steps = ("--steps", str(self._settings.first_steps))
        return self._retrain("first", *steps, "--allow-ungated")

    def _retrain(self, name: str, *flags: str) -> str:
        """Run `trainer-retrain` to its end; returns the version in force after it.

        Raises:
            BrokenPromise: the gate refused what it made.
        """
        try:
            self._command(f"retrain-{name}", "trainer-retrain", *self._given(), *flags)
        except ProcessFailed as failed:
            if failed.status != REFUSED_BY_GATE:
                raise
            raise BrokenPromise(
                f"the gate refused the {name} engine, so there is nothing to show: its report lies "
                f"in {self._paths.out / 'runs'}. More --steps make a better second engine, "
                "fewer --first-steps leave it more to learn"
            ) from failed
        pointer = self._registry.pointer()
        if pointer is None:
            raise BrokenPromise("the first engine was refused: see runs/ for its gate's report")
        return str(pointer.promoted)

    def _given(self) -> list[str]:
        """Flags of every `trainer-retrain`."""
        settings, paths = self._settings, self._paths
        weights = [] if settings.weights is None else ["--weights", str(settings.weights)]
        return [
            *("--store", str(paths.store), "--registry", str(paths.registry)),
            *("--runs", str(paths.out / "runs"), "--model", "prn-s"),
            *("--backbone", settings.backbone),
            *weights,
        ]

    def _open_line(self, version: str) -> ChildProcess:
        """Start worker and consumer; returns the worker once it serves."""
        paths = self._paths
        worker = self._processes.start(
            "worker",
            "pipeline-worker",
            *("--line", LINE, "--registry", str(paths.registry)),
            *("--archive", str(paths.archive), "--archive-share", "1"),
            *("--shadow-share", "0.5", "--shadow-frames", "30", "--watch-frames", "100"),
        )
        self._processes.start(
            "consume",
            "pipeline-consume",
            *("--line", LINE, "--from-start"),
            to=paths.verdicts,
        )
        self._wait_for(version, worker)
        return worker

    def _wait_for(self, version: str, worker: ChildProcess) -> None:
        """Wait until the worker says that it serves a version."""
        sha256 = self._sha256(version)

        def serves() -> bool:
            self._check_worker(worker)
            reports = [decode_report(beat) for beat in self._controls.workers().values()]
            return any(report["sha256"] == sha256 for report in reports)

        wait_until(serves, START_WAIT_S, f"a worker that serves {version}")

    @staticmethod
    def _check_worker(worker: ChildProcess) -> None:
        if not worker.alive():
            worker.check(worker.process.returncode)

    def _sha256(self, version: str) -> str:
        return self._registry.version(version).sha256

    def _camera(self, name: str, passes: int) -> ChildProcess:
        return self._processes.start(
            f"camera-{name}",
            "pipeline-camera",
            *("--line", LINE, "--camera", name, "--codec", "ring"),
            *("--source", f"folder:{self._paths.parts}", "--passes", str(passes)),
            *("--rate", str(self._settings.rate), "--part-pattern", r"(.+)\.\w+$"),
        )

    def _pass_parts(self, name: str, worker: ChildProcess) -> list[VerdictRow]:
        """Pass every part once; its verdicts."""
        camera = self._camera(name, passes=1)
        camera.wait(self._settings.parts / self._settings.rate + START_WAIT_S)

        def all_there() -> bool:
            self._check_worker(worker)
            return len(self._rows(name)) >= self._settings.parts

        wait_until(all_there, START_WAIT_S, "a verdict for every part")
        return self._rows(name)

    def _rows(self, camera: str | None = None) -> list[VerdictRow]:
        """Verdicts that the consumer has written so far, whole lines only."""
        written = self._paths.verdicts.read_text("utf-8")
        whole = written[: written.rfind("\n") + 1].splitlines()
        rows: list[VerdictRow] = [json.loads(line) for line in whole]
        return [row for row in rows if camera is None or row["camera"] == camera]

    def _label(self, rows: list[VerdictRow]) -> None:
        paths = self._paths
        archive = Archive(paths.archive, LINE)
        wait_until(
            lambda: all(archive.verdict(row["entry_id"]) for row in rows),
            START_WAIT_S,
            "every frame in the archive",
        )
        lines = paths.out / "labels.jsonl"
        with lines.open("w", encoding="utf-8") as file:
            for said in label_lines(
                rows, self._names, self._settings.data, archive, paths.out / "masks"
            ):
                file.write(json.dumps(said) + "\n")
        line = ("--line", LINE, "--archive", str(paths.archive))
        self._command("label", "pipeline-label", *line, "--from", str(lines), quiet=True)
        self._console.print(f"  {len(rows)} labels sent")

    def _collect_and_release(self) -> None:
        """Take the labels into the store; release what waits, whose labels are known to be right.

        All of these parts come from one hour, which the quarantine holds back: a person decides.
        """
        line = ("--line", LINE, "--archive", str(self._paths.archive))
        self._command("collect", "trainer-retrain", *self._given(), *line, "--collect-only")
        waiting = [each["sha"] for each in self._samples()["waiting"] if each["kind"] == GOOD]
        self._console.print(f"  {len(waiting)} good parts waited for a person: released")
        if waiting:
            store = ("--store", str(self._paths.store), "--by", "pipeline-loop")
            self._command(
                "release", "trainer-samples", "release", *waiting, "--as", GOOD, *store, quiet=True
            )

    def _retrain_and_swap(self, worker: ChildProcess) -> tuple[Span, str, Span]:
        """Retrain while parts pass, until the worker has swapped: steady span, version, swap."""
        flow = self._camera("flow", passes=0)
        began_ms = _now_ms()
        time.sleep(STEADY_S)
        steady = (began_ms, _now_ms())
        second = self._retrain(
            "second",
            *("--steps", str(self._settings.steps)),
            *("--line", LINE, "--archive", str(self._paths.archive)),
        )
        pointer = self._registry.pointer()
        assert pointer is not None  # noqa: S101  # _retrain looked
        promoted_ms = datetime.fromisoformat(pointer.at).timestamp() * 1e3
        self._wait_for(second, worker)
        time.sleep(SETTLED_S)
        swap = (promoted_ms, _now_ms())
        flow.check(flow.stop())
        return steady, second, swap

    def _roll_back(self, first: str, worker: ChildProcess) -> Rollback:
        """Roll back while parts pass; how long it took."""
        flow = self._camera("flow", passes=0)
        time.sleep(SETTLED_S)
        began_ms = _now_ms()
        registry = ("--registry", str(self._paths.registry))
        self._command("rollback", "engine-registry", "rollback", *registry)
        ended_ms = _now_ms()
        self._wait_for(first, worker)
        time.sleep(SETTLED_S)
        flow.check(flow.stop())
        return Rollback(began_ms, ended_ms)

    def _close_line(self, worker: ChildProcess) -> dict[str, Any]:
        """End everything, and reconcile."""
        to = self._paths.out / "reconcile.json"
        reconcile = self._processes.start(
            "reconcile", "pipeline-reconcile", "--line", LINE, "--json", to=to
        )
        with contextlib.suppress(ProcessFailed):  # what is broken is in what it printed
            reconcile.wait(START_WAIT_S)
        worker.check(worker.stop())
        found: dict[str, Any] = json.loads(to.read_text("utf-8"))
        return found

    def _golden_parts(self, rows: list[VerdictRow]) -> frozenset[str]:
        """Which parts are golden: no training saw them."""
        pictures = self._samples()["pictures"]
        origins = {origin for each in pictures if each["golden"] for origin in each["origins"]}
        return frozenset(str(row["part_id"]) for row in rows if row["entry_id"] in origins)

    def _samples(self) -> dict[str, Any]:
        """What the sample store holds."""
        to = self._paths.out / "samples.json"
        store = ("--store", str(self._paths.store))
        listing = self._processes.start(
            "samples", "trainer-samples", "list", *store, "--json", to=to
        )
        listing.wait(START_WAIT_S)
        found: dict[str, Any] = json.loads(to.read_text("utf-8"))
        return found

    def _command(self, name: str, command: str, *flags: str, quiet: bool = False) -> None:
        """Run a command to its end, its progress shown; remember how long it took."""
        began_s = time.monotonic()
        self._processes.start(name, command, *flags, show=not quiet).wait(COMMAND_WAIT_S)
        self._seconds[name] = time.monotonic() - began_s

    def _say(self, number: int, verb: str, what: str) -> None:
        self._console.print(headed(f"{number} {verb}", what))


def _now_ms() -> float:
    return time.time() * 1e3
