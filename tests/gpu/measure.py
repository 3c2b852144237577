"""`make gpu`: every check of this project that wants a GPU, in one command.

    python3 tests/gpu/measure.py --out gpu.json [--device cpu] [--only kernel,network]

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

from gpu_steps.job import (
    ROOT,
    Job,
    NotRunError,
    WrongError,
    environment,
    last_lines,
    short,
    write_json,
)
from gpu_steps.sheet import lines

HERE = Path(__file__).resolve().parent
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
    Step("compiled", "compiled", 100, checks=False),
    Step("serving", "serving", 140, checks=False),
    Step("line", "line", 80, checks=False),
)
NAMES = [step.name for step in STEPS]


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(130))  # so that a step's process is stopped
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
    for line in _sheet(report):
        _say(line)
    _say(f"{options.out}: {'FAILED: ' + ', '.join(wrong) if wrong else 'no check failed'}")
    return 1 if wrong else 0


def _sheet(report: dict[str, Any]) -> list[str]:
    try:
        return list(lines(report))
    except (KeyError, TypeError, ValueError, AttributeError) as error:  # of figures half written
        return [f"no table ({short(error)}): read the report"]


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
        try:
            status = _wait(process, limit_s)
        finally:
            if process.poll() is None:  # we are being stopped
                os.killpg(process.pid, signal.SIGKILL)
    took_s = time.monotonic() - started
    found = json.loads(figures.read_text("utf-8")) if figures.is_file() else {}
    words = last_lines(log.read_text("utf-8", "replace"), 20)
    reason = _reason(figures)
    why = reason.read_text("utf-8") if reason.is_file() else " ".join(words[-1:])
    done = _done(*_judged(status, limit_s, why), took_s, found)
    return done if status == 0 else done | {"log": words}


def _reason(figures: Path) -> Path:
    """Where a step says why it did not end well."""
    return figures.with_suffix(".why")


def _judged(status: int | None, limit_s: float, why: str) -> tuple[str, str]:
    if status == 0:
        return "ok", ""
    if status is None:
        return "failed", f"stopped after {limit_s:.0f} s"
    if status == NOT_RUN:
        return "not run", why
    return "failed", why if status in (WRONG, BROKEN) else f"exit status {status}: {why}"


def _done(status: str, why: str, took_s: float, figures: dict[str, Any]) -> dict[str, Any]:
    return {"status": status, "why": why, "took_s": round(took_s, 1), "figures": figures}


def _wait(process: "subprocess.Popen[bytes]", limit_s: float) -> int | None:
    """Return its exit status; None where it had to be stopped, with all that it started."""
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
    path = os.environ.get("PATH", "")
    if shutil.which("nvcc") is None:
        path = os.pathsep.join([path, CUDA_PROGRAMS])
    return environment(PYTHONUNBUFFERED="1", PATH=path)


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
        why, status = str(error), NOT_RUN
    except WrongError as error:
        why, status = str(error), WRONG
    except ModuleNotFoundError as error:
        why, status = f"{error}, imported by {_importer(error)}", NOT_RUN
    except Exception as error:  # noqa: BLE001  # the process's edge: the other steps go on
        traceback.print_exc()
        why, status = short(error), BROKEN
    else:
        return 0
    _reason(figures).write_text(why, "utf-8")
    return status


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
