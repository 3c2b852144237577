"""Processes of this project, run by another of them: demos, drills, benchmarks."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pipeline.errors import PipelineError

STOP_WAIT_S = 15.0
_POLL_S = 0.05
_STATM_RSS = 1  # /proc/PID/statm: resident pages


class ProcessFailed(PipelineError):  # noqa: N818
    """A process ended that should have gone on, or ended badly."""

    def __init__(self, message: str, status: int | None = None) -> None:
        """Keep the status that it ended with; None where it did not end."""
        super().__init__(message)
        self.status = status


@dataclass
class ChildProcess:
    """One running process of a group."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def alive(self) -> bool:
        """Return whether it still runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()

    def suspend(self) -> None:
        """Suspend it until `resume`."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after `suspend`."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, wait, insist; its exit status."""
        if self.alive():
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WAIT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            return self.process.returncode

    def wait(self, timeout_s: float) -> None:
        """Wait until it ends by itself, well.

        Raises:
            ProcessFailed: it ended badly or not in time.
        """
        try:
            status = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired as error:
            raise ProcessFailed(f"{self.name} did not end within {timeout_s:.0f} s") from error
        self.check(status)

    def check(self, status: int | None) -> None:
        """Raise ProcessFailed with the end of its log, if it has one, unless the status is 0."""
        if status != 0:
            said = self.log_tail()
            why = f":\n{said}" if said else ", as it said"
            raise ProcessFailed(f"{self.name} ended with status {status}{why}", status)

    def log_tail(self, lines: int = 15) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])


class ProcessGroup:
    """Starts the commands of this installation; stops all of them when left."""

    def __init__(self, logs: Path, environment: dict[str, str] | None = None) -> None:
        """Keep each process's stderr in `logs`; `environment` is added to ours."""
        self._logs = logs
        self._environment = {**os.environ, **(environment or {})}
        self.children: list[ChildProcess] = []
        logs.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for child in reversed(self.children):
            with contextlib.suppress(ProcessLookupError):
                child.stop()

    def start(
        self, name: str, command: str, *flags: str, to: Path | None = None, show: bool = False
    ) -> ChildProcess:
        """Start a command; its stderr goes to its log, stdout to `to`; with `show` both to ours."""
        log = self._logs / f"{name}.log"
        with contextlib.ExitStack() as files:
            stderr = None if show else files.enter_context(log.open("ab"))
            nowhere = None if show else subprocess.DEVNULL
            stdout = files.enter_context(to.open("wb")) if to else nowhere
            process = subprocess.Popen(
                [*_program(command), *flags],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=self._environment,
                start_new_session=True,  # an interrupt is for us; we then stop the group in order
            )
        log.touch()
        child = ChildProcess(name, process, log)
        self.children.append(child)
        return child


def _program(command: str) -> list[str]:
    """Find a command beside this Python, so that a group is of one installation."""
    beside = Path(sys.executable).with_name(command)
    if not beside.exists():
        raise ProcessFailed(f"{command} is not installed beside {sys.executable}: run make again")
    return [str(beside)]


def resident_mb(pid: int) -> float:
    """Resident memory of a process, MB; 0 once it is gone."""
    try:
        pages = Path(f"/proc/{pid}/statm").read_text("ascii").split()[_STATM_RSS]
    except OSError:
        return 0.0
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def peak_mb(pid: int) -> float:
    """Largest resident memory of a running process so far, MB."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Turn SIGTERM into KeyboardInterrupt, so that crews are stopped on the way out."""

    def on_signal(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def wait_until(done: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Poll `done()` until it is true.

    Raises:
        ProcessFailed: not within `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > deadline_s:
            raise ProcessFailed(f"{what}: not within {timeout_s:.0f} s")
        time.sleep(_POLL_S)
