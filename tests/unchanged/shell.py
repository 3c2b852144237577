"""Commands of the tree, run in this process or beside it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import IO, Any

from probe_command import run
from run_commands import entry_points, environment
from shown import Shown

WAIT_S = 60.0


class Shell:
    """Runs commands in a folder of its own."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.shown = Shown(folder)
        self._entries = entry_points(root)

    def run(self, name: str, *arguments: object, given: str = "") -> dict[str, Any]:
        """Run a command to its end in this process; return status, output and errors.

        `given` is what it reads from its standard input.
        """
        module, _, function = self._entries[name].partition(":")
        command = getattr(import_module(module), function)
        with _standard_input(given):
            ended = run(command, name, *map(str, arguments))
        return {
            "status": self.shown.text(str(ended["status"])),
            "out": self.shown.text(ended["out"]),
            "err": self.shown.text(ended["err"]),
        }

    @contextmanager
    def beside(self, name: str, *arguments: object, **more: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command in a process of its own, which ends with the context.

        Its errors lie in `NAME.log`; its output is to be read from the process.
        """
        module, _, function = self._entries[name].partition(":")
        program = f"import sys; from {module} import {function} as f; sys.argv[0] = {name!r}; f()"
        words = [sys.executable, "-c", program, *map(str, arguments)]
        with (
            self.log_path(name).open("a") as log,
            subprocess.Popen(
                words,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=environment(self.root, **more),
                cwd=self.folder,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.terminate()
                process.wait(WAIT_S)

    def log_path(self, name: str) -> Path:
        """Return where the errors of a command beside this process lie."""
        return self.folder / f"{name}.log"

    @contextmanager
    def redis(self, state: Path) -> Iterator[str]:
        """Run the embedded Redis as long as the context lasts; yield its URL."""
        with self.beside("pipeline-redis", "--state-dir", state) as process:
            yield _first_line(process.stdout)


def _first_line(output: IO[str] | None) -> str:
    assert output is not None
    line = output.readline().strip()
    assert line, "the process ended before it said anything"
    return line


@contextmanager
def shell(root: Path) -> Iterator[Shell]:
    """Open a shell in a new folder, which is the working directory as long as the context lasts."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="unchanged-") as name:
        os.chdir(name)
        try:
            yield Shell(root, Path(name))
        finally:
            os.chdir(before)


@contextmanager
def _standard_input(text: str) -> Iterator[None]:
    before = sys.stdin
    with tempfile.TemporaryFile("w+", encoding="utf-8") as file:
        file.write(text)
        file.seek(0)
        sys.stdin = file
        try:
            yield
        finally:
            sys.stdin = before


def wait_until(done: Callable[[], object], what: str) -> None:
    """Wait until `done` returns something true.

    Raises:
        TimeoutError: it did not, for a minute.
    """
    deadline = time.monotonic() + WAIT_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {WAIT_S:.0f} s for {what}")
        time.sleep(0.02)
