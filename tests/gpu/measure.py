"""`make gpu`: every check of this project that wants a GPU, in one command.

    PYTHONPATH=. python3 tests/gpu/measure.py --out gpu.json [--device cpu] [--only kernel,network]

Each step is a process of its own, so that one that fails, hangs or spoils its GPU context takes no
other along. The report is written after every step, and at the end of a step that was stopped. The
exit status is 1 where a step that checks answers failed. gpu_steps/ has the steps.
"""

import argparse
import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "unit")]

from gpu_steps.job import ROOT, Job, NotRunError, WrongError, last_lines, short, write_json
from gpu_steps.sheet import lines

CUDA_PROGRAMS = "/usr/local/cuda/bin"
NO_FIGURE = "WARNING: --device cpu. NO FIGURE IN THIS REPORT IS ONE: it only proves the program."
WRONG, NOT_RUN, BROKEN = 3, 4, 5  # exit statuses of a step's process
GRACE_S = 8.0


@dataclass(frozen=True)
class Step:
    name: str
    module: str
    limit_s: float
    checks: bool  # answers: its failure is the command's


STEPS = (
    Step("packages", "packages", 60, checks=False),
    Step("machine", "machine", 60, checks=False),
    Step("compile", "build", 90, checks=True),
    Step("tests", "proof", 150, checks=True),
    Step("kernel", "residual", 90, checks=True),
    Step("composition", "composition", 75, checks=True),
    Step("network", "network", 130, checks=False),
    Step("sanitizer", "sanitizer", 110, checks=True),
    Step("compiled", "compiled", 100, checks=True),
    Step("serving", "serving", 100, checks=False),
    Step("line", "line", 80, checks=False),
)
NAMES = [step.name for step in STEPS]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.step:
        return run_step(options)
    with tempfile.TemporaryDirectory(prefix="prn-gpu-") as folder:
        return run_all(options, Path(folder))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="measure.py", description="Check and measure on a GPU.")
    parser.add_argument("--out", type=Path, default=Path("gpu.json"), help="report to write")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: tiny sizes")
    parser.add_argument("--only", default="", metavar="STEP,...", help=", ".join(NAMES))
    parser.add_argument("--minutes", type=float, default=7.5, help="end by then")
    parser.add_argument("--step", choices=NAMES, help=argparse.SUPPRESS)  # of a step's process
    parser.add_argument("--room", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    unknown = set(filter(None, options.only.split(","))) - set(NAMES)
    if unknown:
        parser.error(f"--only {','.join(sorted(unknown))}: the steps are {', '.join(NAMES)}")
    return options


def run_all(options: argparse.Namespace, room: Path) -> int:
    started = time.monotonic()
    ends = started + 60 * options.minutes
    only = set(filter(None, options.only.split(",")))
    steps = [step for step in STEPS if not only or step.name in only]
    report: dict[str, Any] = {"device": options.device, "steps": {}}
    if options.device == "cpu":
        report["warning"] = NO_FIGURE
    report |= {"began": datetime.now(UTC).isoformat(timespec="seconds"), "minutes": options.minutes}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    python = sys.executable
    for number, step in enumerate(steps, 1):
        _say(f"[{time.monotonic() - started:5.0f} s] {number}/{len(steps)} {step.name} ...")
        done = run_one(step, options.device, python, room, ends - time.monotonic())
        report["steps"][step.name] = done
        report["took_s"] = round(time.monotonic() - started, 1)
        write_json(options.out, report)
        why = f": {done['why']}" if done["why"] else ""
        _say(f"[{report['took_s']:5.0f} s] {step.name}: {done['status']}{why}"[:300])
        python = done["figures"].get("python", python) if step.name == "packages" else python
    wrong = [s.name for s in steps if s.checks and report["steps"][s.name]["status"] == "failed"]
    report["failed_checks"] = wrong
    write_json(options.out, report)
    _say("")
    for line in lines(report):
        _say(line)
    _say(f"{options.out}: {'FAILED: ' + ', '.join(wrong) if wrong else 'no check failed'}")
    return 1 if wrong else 0


def run_one(step: Step, device: str, python: str, room: Path, left_s: float) -> dict[str, Any]:
    """Run a step in a process of its own; its figures, also of one that was stopped."""
    started = time.monotonic()
    limit_s = min(step.limit_s, left_s)
    if limit_s < 2 * GRACE_S:
        return _done("not run", f"{left_s:.0f} s are left", 0.0, {})
    figures, log = room / f"{step.name}.json", room / f"{step.name}.log"
    if step.name == "packages":
        write_json(figures, {"wheels": os.environ.get("WHEELS", "")})
    command = [python, str(HERE / "measure.py"), "--step", step.name, "--device", device]
    command += ["--room", str(room), "--seconds", f"{limit_s - GRACE_S:.1f}"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=_environment(),
            start_new_session=True,
        )
        status = _wait(process, limit_s)
    took_s = time.monotonic() - started
    found = json.loads(figures.read_text("utf-8")) if figures.is_file() else {}
    words = last_lines(log.read_text("utf-8", "replace"))
    return _done(*_judged(status, limit_s, words), took_s, found) | (
        {} if status == 0 else {"log": words}
    )


def _judged(status: int | None, limit_s: float, words: list[str]) -> tuple[str, str]:
    """Status and reason; a step says its reason in its last line."""
    if status == 0:
        return "ok", ""
    if status is None:
        return "failed", f"stopped after {limit_s:.0f} s"
    last = words[-1] if words else ""
    if status == NOT_RUN:
        return "not run", last
    return "failed", last if status in (WRONG, BROKEN) else f"exit status {status}: {last}"


def _done(status: str, why: str, took_s: float, figures: dict[str, Any]) -> dict[str, Any]:
    return {"status": status, "why": why, "took_s": round(took_s, 1), "figures": figures}


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> int | None:
    """Give its exit status; None where it had to be stopped, with all that it started."""
    try:
        return process.wait(limit_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(GRACE_S / 2)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return None


def _environment() -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    path = environment.get("PATH", "")
    if shutil.which("nvcc", path=path) is None:
        environment["PATH"] = os.pathsep.join([path, CUDA_PROGRAMS])
    return environment


def run_step(options: argparse.Namespace) -> int:
    """Be a step's process."""
    step = next(each for each in STEPS if each.name == options.step)
    figures = options.room / f"{step.name}.json"
    ends = time.monotonic() + options.seconds
    job = Job(options.device, options.room, ends, figures)
    if figures.is_file():
        job.figures = json.loads(figures.read_text("utf-8"))
    try:
        importlib.import_module(f"gpu_steps.{step.module}").run(job)
    except NotRunError as error:
        _say(str(error))
        return NOT_RUN
    except WrongError as error:
        _say(str(error))
        return WRONG
    except ModuleNotFoundError as error:
        _say(f"{error}; imported by {_importer(error)}")
        return NOT_RUN
    except Exception as error:  # noqa: BLE001  # the process's edge: the others go on
        traceback.print_exc()
        _say(short(error))
        return BROKEN
    return 0


def _importer(error: ModuleNotFoundError) -> str:
    """Name the file of ours that wanted the module."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame.filename for frame in frames if frame.filename.startswith(str(ROOT))]
    return str(Path(ours[-1]).relative_to(ROOT)) if ours else "a package"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
