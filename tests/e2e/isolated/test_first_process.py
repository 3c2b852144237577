"""A command as the first process of a container, which the kernel spares every unhandled signal."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from inputs.onnx_graphs import small_graph, write_graph
from rigs.missing import missing

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
WAIT_S = 120.0
COMMANDS = {
    "pipeline-worker": ["pipeline.cli", "worker", "--engine", "{engine}", "--skip-admission"],
    "pipeline-camera": ["pipeline.cli", "camera", "--source", "synthetic:1", "--size", "32x32"],
    "pipeline-consume": ["pipeline.cli", "consume"],
}
WATCHING = ["--store", "{folder}/store", "--registry", "{folder}/registry"]
NO_REDIS = {
    "pipeline-redis": ["pipeline.cli", "redis", "--state-dir", "{folder}/state"],
    "trainer-retrain": ["trainer.cli", "retrain", "--watch", *WATCHING, "--runs", "{folder}/runs"],
}


@pytest.fixture(autouse=True)
def _own_processes() -> None:
    if os.geteuid() or subprocess.run([*UNSHARE, "true"], check=False).returncode:
        missing("no right to process ids of its own (unshare --pid): run this test as root")


@pytest.fixture
def silent_redis() -> Iterator[str]:
    """A server that is paused: it accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"redis://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def first_process(folder: Path, words: list[str]) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Start a command as process 1 of its own; yields what started it, and its id out here."""
    module, function, *flags = [
        word.format(folder=folder, engine=folder / "small.onnx") for word in words
    ]
    write_graph(folder / "small.onnx", small_graph(32, 32), 32, 32)
    program = f"import sys; from {module} import {function}; {function}()"
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            [*UNSHARE, sys.executable, "-c", program, *flags], stdout=log, stderr=log
        )
    try:
        yield started, child_of(started)
    finally:
        started.kill()
        started.wait()


def child_of(started: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    return int(until(lambda: children.read_text().split())[0])


def until(look):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    deadline = time.monotonic() + WAIT_S
    while not (seen := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return seen


def handles_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    caught = int(status.split("SigCgt:")[1].split()[0], 16)
    return bool(caught >> (signal.SIGTERM - 1) & 1)


@pytest.mark.parametrize("name", [*COMMANDS, *NO_REDIS])
def test_sigterm_is_heard_while_a_command_starts(
    name: str, tmp_path: Path, silent_redis: str
) -> None:
    words = NO_REDIS.get(name) or [*COMMANDS[name], "--redis-url", silent_redis]
    with first_process(tmp_path, words) as (started, pid):
        until(lambda: handles_sigterm(pid))
        os.kill(pid, signal.SIGTERM)
        status = started.wait(WAIT_S)
        said = (tmp_path / "log").read_text()
    assert status in {0, 128 + signal.SIGTERM}, said
    assert "started" not in said


@pytest.mark.parametrize("name", COMMANDS)
def test_command_that_waits_for_a_paused_redis_says_so_and_hears_sigterm(
    name: str, tmp_path: Path, silent_redis: str
) -> None:
    with first_process(tmp_path, [*COMMANDS[name], "--redis-url", silent_redis]) as (started, pid):
        until(lambda: "redis.awaited" in (tmp_path / "log").read_text())
        os.kill(pid, signal.SIGTERM)
        assert started.wait(WAIT_S) == 0
