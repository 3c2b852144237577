"""A registry's promotions on a line of real processes: a killed worker, a rollback by command."""

import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fakes.tiny_engine import RUNTIME, write_tiny_engine

from engines.registry.registry import Registry
from pipeline.commands.reconcile import reconcile
from pipeline.commands.subprocesses import ChildProcess, ProcessGroup, wait_until
from pipeline.streams.connect import Access
from pipeline.streams.connection import RedisConnection, open_connection
from pipeline.streams.control import Controls
from pipeline.streams.ledger import Ledger
from pipeline.verdicts import read_verdict
from pipeline.wire import decode_report

WAIT_S = 60.0
SIZE = 64


class Line:
    """A line of real processes, and the registry that its workers follow."""

    def __init__(self, folder: Path, processes: ProcessGroup, connection: RedisConnection) -> None:
        self.folder, self.processes, self.connection = folder, processes, connection
        self.ledger = Ledger(connection.client, "line-1")
        self.registry = Registry(str(folder / "registry"))
        self._numbers = itertools.count()

    def add(self) -> str:
        number = next(self._numbers)
        path = self.folder / f"made-{number}" / "engine.onnx"
        write_tiny_engine(path, SIZE, salt=number, rounds=100)
        return self.registry.register(path).name

    def worker(self, name: str, *flags: str) -> ChildProcess:
        way = ("--backend", RUNTIME.backend, "--threads", str(RUNTIME.threads))
        words = ("--registry", str(self.folder / "registry"), *way, *flags)
        return self.processes.start(name, "pipeline-worker", *words)

    def camera(self) -> ChildProcess:
        flags = ("--source", "synthetic:1", "--variety", "8", "--size", f"{SIZE}x{SIZE}")
        return self.processes.start(
            "camera", "pipeline-camera", *flags, "--rate", "100", "--deadline-ms", "60000", "--live"
        )

    def workers(self) -> list[dict[str, Any]]:
        beats = Controls(self.connection.client, "line-1").workers().values()
        return [decode_report(beat) for beat in beats]

    def all_serve(self, version: str, count: int) -> bool:
        return [worker["promoted"] for worker in self.workers()] == [version] * count

    def settle(self, camera: ChildProcess) -> None:
        """Stop the camera, wait until all is answered, prove that every part has one verdict."""
        assert camera.stop() == 0
        wait_until(lambda: reconcile(self.ledger).open == 0, WAIT_S, "the last verdict")
        report = reconcile(self.ledger)
        assert report.broken() == []
        assert report.offered > 100

    def engines(self) -> set[str]:
        verdicts = [read_verdict("line-1", one) for one in self.ledger.results("-", 100_000)]
        return {one.judgement.engine.sha256[:12] for one in verdicts if one.judgement is not None}


@contextmanager
def line_in(folder: Path) -> Iterator[Line]:
    environment = {"PRN_STATE_DIR": str(folder / "redis"), "PRN_LOG_FORMAT": "json"}
    with (
        open_connection(Access(""), folder / "redis") as connection,
        ProcessGroup(folder / "logs", environment) as processes,
    ):
        yield Line(folder, processes, connection)


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with line_in(tmp_path) as opened:
        yield opened


# on a busy machine real work takes its time: no reason to go back here
PATIENT = ("--watch-slower", "50")
QUICK = ("--shadow-frames", "5", "--shadow-share", "1", "--watch-frames", "40", *PATIENT)


def test_no_part_is_lost_when_a_worker_is_killed_amid_its_swap_and_the_next_one_swaps(
    line: Line,
) -> None:
    first, second = line.add(), line.add()
    line.registry.promote(first, "test")
    slow = ("--shadow-frames", "1000000", "--shadow-s", "600")
    dying = line.worker("dying", *slow)
    wait_until(lambda: line.all_serve(first, 1), WAIT_S, "the first worker")
    camera = line.camera()
    line.registry.promote(second, "test")
    wait_until(
        lambda: "shadows with" in str(line.workers()[0]["swap"]), WAIT_S, "the swap's middle"
    )
    line.worker("next", *QUICK)
    wait_until(lambda: len(line.workers()) == 2, WAIT_S, "the second worker")
    dying.kill()
    wait_until(lambda: line.all_serve(second, 1), WAIT_S, "the second worker's swap")
    line.settle(camera)


def test_rollback_is_one_command_and_the_old_engine_judges_within_a_second(line: Line) -> None:
    first, second = line.add(), line.add()
    line.registry.promote(first, "test")
    line.worker("one", *QUICK)
    wait_until(lambda: line.all_serve(first, 1), WAIT_S, "the worker")
    camera = line.camera()
    wait_until(lambda: reconcile(line.ledger).offered > 60, WAIT_S, "parts")
    line.registry.promote(second, "test")
    wait_until(
        lambda: "as promoted" in str(line.workers()[0]["swap"]) and line.all_serve(second, 1),
        WAIT_S,
        "the swap",
    )
    command = [sys.executable, "-c", "from engines.commands.registry import registry; registry()"]
    began_s = time.monotonic()
    done = subprocess.run(
        [*command, "rollback", "--registry", str(line.folder / "registry")],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wait_until(lambda: line.all_serve(first, 1), WAIT_S, "the rollback")
    assert time.monotonic() - began_s < WAIT_S
    line.settle(camera)
    assert len(line.engines()) == 2


def test_worker_without_a_promoted_version_says_what_to_do(line: Line) -> None:
    worker = line.worker("lost")
    wait_until(lambda: not worker.alive(), WAIT_S, "its end")
    assert worker.process.returncode == 1
    assert "engine-registry promote" in worker.log_tail()
