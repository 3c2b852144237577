"""What a step is given, and where it writes its figures."""

import json
import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
LAST_LINES = 8


class NotRunError(Exception):
    """This machine lacks what the step needs; says what."""


class WrongError(Exception):
    """What was computed is wrong."""


@dataclass
class Job:
    device: str  # cuda, or cpu: tiny sizes that prove the program
    room: Path  # libraries, engine files, logs
    ends_s: float  # of time.monotonic(), by when the step should be done
    path: Path  # figures, written after each
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def has_gpu(self) -> bool:
        return self.device == "cuda"

    def left_s(self) -> float:
        return self.ends_s - time.monotonic()

    def put(self, name: str, figure: object) -> None:
        self.figures[name] = figure
        write_json(self.path, self.figures)

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Append a row to a table."""
        self.put(name, [*self.figures.get(name, []), row])
        print_line(f"{name}: " + " ".join(f"{key}={value}" for key, value in row.items()))

    def attempt(self, what: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Return a figure, or why there is none: one that fails must not take the others along."""
        try:
            return what()
        except Exception as error:  # noqa: BLE001  # whatever a library makes of this machine
            return {"not run": short(error)}


def short(error: BaseException) -> str:
    """An error in at most 300 characters."""
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {' '.join(lines[:3])}"[:300]


def print_line(line: str) -> None:
    os.write(1, f"{line[:300]}\n".encode())


def write_json(path: Path, content: object) -> None:
    """Replace a file at once, so that a kill leaves the last one."""
    half = path.with_name(path.name + ".half")
    half.write_text(json.dumps(content, indent=1, default=str) + "\n", "utf-8")
    half.replace(path)


def said_by(
    command: Sequence[str | Path],
    timeout_s: float,
    environment: dict[str, str] | None = None,
) -> tuple[int, str]:
    """Run a program in the repository's root: its status and all it said; 124 after too long."""
    try:
        done = subprocess.run(
            [str(each) for each in command],
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=max(1.0, timeout_s),
            cwd=ROOT,
            env=environment,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode("utf-8", "replace") if isinstance(output, bytes) else output
        return 124, text + f"\nstopped after {timeout_s:.0f} s"
    return done.returncode, done.stdout


def environment(**more: str) -> dict[str, str]:
    """Return this process's environment, in which programs find the project and its tests' modules.

    What PYTHONPATH held already, such as a folder of carried packages, stays in it.
    """
    before = os.environ.get("PYTHONPATH", "")
    ours = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "gpu")]
    paths = [*ours, *(path for path in before.split(os.pathsep) if path and path not in ours)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths)} | more


def last_lines(said: str, count: int = LAST_LINES) -> list[str]:
    return [line[:300] for line in said.strip().splitlines()[-count:]]
